"""epicsub predict: a file of predictions, for another day's ensemble."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from epicsub.api.predict import predict as predict_list
from epicsub.cli.options import DataOption, DeviceOption, ProtocolOption, StopOption, TtaOption
from epicsub.predictions import save_predictions


def predict(
    target: Annotated[str, typer.Argument(help="A checkpoint or a run.")],
    split: Annotated[Literal["validation", "test"], typer.Option(help="Which list of the protocol.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write: .npz, or .pt in the organisers' format.")],
    tta: TtaOption = None,
    stop: StopOption = 0,
    protocol: ProtocolOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Predict every segment of a split and write log-probabilities."""
    predictions = predict_list(target, split, tta=tta, stop=stop, protocol=protocol, data=data, device=device)
    save_predictions(predictions, out)
    typer.echo(f"wrote {out}: {len(predictions)} segments")
