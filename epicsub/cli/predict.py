"""epicsub predict: a file of predictions, for another day's ensemble."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from epicsub.api.shares import what_to_predict
from epicsub.cli.options import (
    DataOption,
    DeviceOption,
    MergeOption,
    ProtocolOption,
    ShardOption,
    StopOption,
    TtaOption,
    chosen_shard,
)
from epicsub.errors import InferenceError
from epicsub.inference.shares import merge_shares, predict_share
from epicsub.inference.targets import predictions_of
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
    shard: ShardOption = None,
    merge: MergeOption = None,
) -> None:
    """Predict every segment of a split and write log-probabilities."""
    chosen = chosen_shard(shard, merge)
    if stop and (chosen or merge):
        raise InferenceError(f"--stop {stop}: needs the whole list, and a share is a part of it: leave it out")
    what = what_to_predict(target, split, tta=tta, protocol=protocol, data=data, device=device)
    if chosen is not None:
        place, count = predict_share(*what, chosen)
        typer.echo(f"shard {chosen}: {count} segments in {place}; --merge {chosen.of} writes {out}")
        return
    predictions = predictions_of(*what, stop) if merge is None else merge_shares(*what, merge)
    save_predictions(predictions, out)
    typer.echo(f"wrote {out}: {len(predictions)} segments")
