"""epicsub bench agents: what the agents of one run did."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.cli.options import DataOption, DeviceOption, data_root, device_of
from epicsub.data.sources import middle_frames
from epicsub.inference.targets import resolve_target
from epicsub.studies import pictures
from epicsub.studies.agents import counts_of, most_removed, read_removals, write_counts
from epicsub.studies.features import features_before_and_after
from epicsub.training.loaders import source_segments, target_segments
from epicsub.training.logging import REMOVALS_FILE, read_metrics


def agents(
    run: Annotated[str, typer.Argument(help="A run with agents: its folder, or its name under outputs/.")],
    out: Annotated[Path | None, typer.Option(help="Where the files go. Default: agents/ in the run's folder.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clips of each agent on the contact sheet.")] = 6,
    segments: Annotated[int, typer.Option(min=5, help="Segments of each domain for t-SNE.")] = 200,
    before: Annotated[
        str | None, typer.Option(help="Run or checkpoint before adaptation. Default: the run's weights at its start.")
    ] = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Write what each agent removed and how often, its rewards and Q-values, the most removed clips, and features."""
    target = resolve_target(run)
    folder = target.path.parent
    counts = counts_of(read_removals(folder / REMOVALS_FILE))
    recipe = target.recipe
    root = data_root(data, recipe.data.root)
    domains = {
        "source": source_segments(recipe, root),
        "target": [segment for part in target_segments(recipe, root) for segment in part],
    }
    place = out or folder / "agents"
    write_counts(counts, place / "removed.csv")
    if not pictures.curves(read_metrics(folder / "metrics.jsonl"), place / "curves.png"):
        typer.echo("no curves: what removes here has no rewards to learn from")
    rows = most_removed(counts, clips)
    shown = {count.narration_id for row in rows.values() for count in row}
    frames = middle_frames(root, [s for part in domains.values() for s in part if s.narration_id in shown])
    pictures.contact_sheet(rows, frames, place / "most_removed.png")
    earlier = resolve_target(before) if before else None
    found = features_before_and_after(target, earlier, domains, segments, root, device_of(device))
    pictures.embeddings(found, place / "features.png")
    for path in sorted(place.glob("*.csv")) + sorted(place.glob("*.png")):
        typer.echo(f"wrote {path}")
