"""epicsub bench agents: figures of the agents of one run."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.cli.options import DataOption, DeviceOption
from epicsub.studies.agents import write_agent_report


def agents(
    run: Annotated[str, typer.Argument(help="A run with agents: its folder, or its name under outputs/.")],
    out: Annotated[Path | None, typer.Option(help="Output folder. Default: agents/ in the run's folder.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clips per agent on the contact sheet.")] = 6,
    segments: Annotated[int, typer.Option(min=5, help="Segments per domain for t-SNE.")] = 200,
    before: Annotated[
        str | None, typer.Option(help="Run or checkpoint before adaptation. Default: the initial weights of the run.")
    ] = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Write removal counts, rewards and Q-values, the most removed clips, and t-SNE of the features, per agent."""
    written = write_agent_report(run, before, out=out, clips=clips, segments=segments, data=data, device=device)
    if not any(path.name == "curves.png" for path in written):
        typer.echo("no curves.png: the run logs no rewards")
    for path in written:
        typer.echo(f"wrote {path}")
