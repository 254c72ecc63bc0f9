"""epicsub predict: a file of predictions, for another day's ensemble."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from epicsub.cli.options import DataOption, DeviceOption, ProtocolOption, StopOption, TtaOption


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
    from epicsub.api.common import protocol_of
    from epicsub.cli.options import data_root, device_of
    from epicsub.data.sampling import parse_views
    from epicsub.inference.targets import predictions_of, resolve_target
    from epicsub.predictions import save_predictions
    from epicsub.validation import find_protocol

    resolved = resolve_target(target)
    root = data_root(data)
    lists = find_protocol(protocol, protocol_of([resolved])).protocol
    segments = root.segments(getattr(lists, split).list)
    views = parse_views(tta) if tta else None
    predictions = predictions_of(resolved, segments, root, views, device_of(device), stop)
    save_predictions(predictions, out)
    typer.echo(f"wrote {out}: {len(predictions)} segments")
