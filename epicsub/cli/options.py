"""Options that several commands share, and how they write tables and JSON."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.measure import Measurement

from epicsub.errors import DataError
from epicsub.io import write_text
from epicsub.io.shards import Shard, shard_of

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data root. Default: data.root of the recipe, $EPICSUB_DATA, data/.")
]
LinkedOption = Annotated[
    Path | None,
    typer.Option("--out", help="Write to this data root, made of links to --data. For data that cannot be written."),
]
ProtocolOption = Annotated[
    str | None, typer.Option("--protocol", help="Protocol (lists and counts), by name or path. Default: the recipe's.")
]
TtaOption = Annotated[
    str | None,
    typer.Option("--tta", help="Views per segment, e.g. 5x3+flip: clips x crops, mirror, frame rates (@0.8,1,1.25)."),
]
StopOption = Annotated[
    int,
    typer.Option(
        "--stop", min=0, max=5, help="Stop early once the K best classes of a segment cannot change. 0: never."
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
CountOption = Annotated[
    int | None, typer.Option("--count", help="Segments the list must have. Default: the protocol's.")
]

ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="The I-th of N shares of the work. Default: the task of an array of Slurm's."
    ),
]
MergeOption = Annotated[
    int | None, typer.Option("--merge", min=1, metavar="N", help="Put N shares together, or say which are missing.")
]

RecipeArgument = Annotated[str, typer.Argument(help="Name or path of a recipe, e.g. mmir_i3d.")]
OverridesArgument = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")]
RunOption = Annotated[Path | None, typer.Option(help="The run's folder. Default: outputs/ and the recipe's name.")]
ResumeOption = Annotated[bool, typer.Option(help="Resume a killed run of the same settings.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Estimate parameters, memory and hours, then exit.")]
RuleOption = Annotated[
    str, typer.Option(help="mean of probabilities, logits (the mean of logits, which is the geometric mean), or rank.")
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]
SkipOption = Annotated[Path | None, typer.Option("--skip", help="File of narration ids to leave out, one per line.")]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write what `--json` asks for, and say so.

    Args:
        path: the file.
        content: plain values.
    """
    write_text(path, json.dumps(content, indent=1) + "\n")
    typer.echo(f"wrote {path}")


_ANY_WIDTH = 10_000


def print_whole(*parts: RenderableType) -> None:
    """Print tables and lines as wide as they are; a terminal that is narrower wraps them itself.

    Args:
        parts: what rich can print; text as it is, without markup.
    """
    terminal = Console()
    wide = Console(width=_ANY_WIDTH)
    for part in parts:
        needed = Measurement.get(wide, wide.options, part).maximum
        console = Console(width=max(terminal.width, needed))
        console.print(part, markup=False, highlight=False, soft_wrap=isinstance(part, str))


def chosen_shard(shard: str | None, merge: int | None) -> Shard | None:
    """Read `--shard` and say which share it is, also where Slurm has chosen it.

    Args:
        shard: the option's value.
        merge: that of `--merge`, which goes without a share.

    Returns:
        None for all the work.

    Raises:
        DataError: no such share, or both options.
    """
    if merge is not None:
        if shard is not None:
            raise DataError(f"--merge {merge}: puts the shares together, and --shard {shard} makes one: leave one out")
        return None
    chosen = shard_of(shard)
    if chosen is not None:
        typer.echo(f"shard {chosen}" + (" (of SLURM_ARRAY_TASK_ID)" if shard is None else ""), err=True)
    return chosen
