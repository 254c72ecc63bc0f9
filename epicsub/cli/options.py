"""Options that several commands share, and what they resolve to."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epicsub.data.root import DataRoot

if TYPE_CHECKING:
    import torch

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data root. Default: data.root of the recipe, $EPICSUB_DATA, data/.")
]
ProtocolOption = Annotated[
    Path | None, typer.Option("--protocol", help="Which lists and counts. Default: the recipe's.")
]
TtaOption = Annotated[
    str | None,
    typer.Option("--tta", help="Views a segment, e.g. 5x3+flip: clips x crops, mirror, frame rates (@0.8,1,1.25)."),
]
StopOption = Annotated[
    int,
    typer.Option(
        "--stop", min=0, max=5, help="Leave out views that cannot change the order of a segment's K best. 0: take all."
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
CountOption = Annotated[
    int | None, typer.Option("--count", help="Segments the list must have. Default: the protocol's.")
]

SkipOption = Annotated[Path | None, typer.Option("--skip", help="File of narration ids to leave out, one a line.")]

DEFAULT_PROTOCOL = Path("validation/ek100.yaml")


def data_root(option: Path | None, recipe_root: str | None = None) -> DataRoot:
    """The data root: the option, else the recipe's, else $EPICSUB_DATA, else data/."""
    return DataRoot(option or Path(recipe_root or os.environ.get("EPICSUB_DATA") or "data"))


def device_of(name: str) -> "torch.device":
    """The device of that name; `auto` takes what the machine has."""
    import torch  # commands that run no model start without it

    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
