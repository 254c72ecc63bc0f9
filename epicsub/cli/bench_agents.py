"""epicsub bench agents: what the agents of one run did."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api.common import data_root, device_of
from epicsub.cli.options import DataOption, DeviceOption
from epicsub.inference.targets import resolve_target
from epicsub.studies.agents import write_agent_report


def agents(
    run: Annotated[str, typer.Argument(help="A run with agents: its folder, or its name under outputs/.")],
    out: Annotated[Path | None, typer.Option(help="Where the files go. Default: agents/ in the run's folder.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clips per agent on the contact sheet.")] = 6,
    segments: Annotated[int, typer.Option(min=5, help="Segments per domain for t-SNE.")] = 200,
    before: Annotated[
        str | None, typer.Option(help="Run or checkpoint before adaptation. Default: the run's weights at its start.")
    ] = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Write what each agent removed and how often, its rewards and Q-values, the most removed clips, and features."""
    target = resolve_target(run)
    root = data_root(data, target.recipe.data.root)
    earlier = resolve_target(before) if before else None
    place = out or target.path.parent / "agents"
    written = write_agent_report(target, earlier, root, place, clips, segments, device_of(device))
    if not any(path.name == "curves.png" for path in written):
        typer.echo("no curves: what removes here has no rewards to learn from")
    for path in written:
        typer.echo(f"wrote {path}")
