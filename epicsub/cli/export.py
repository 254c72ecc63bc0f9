"""epicsub export: a trained model as one file for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api import export as api


def export(
    run: Annotated[str, typer.Argument(help="A checkpoint, a run, or hf://ORG/NAME.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write. Default: the recipe's name.")] = None,
    form: Annotated[api.Format, typer.Option("--format", help="onnx, or torch: a program of torch.export.")] = "onnx",
) -> None:
    """Write a trained model as ONNX or as a program of torch.export, checked against the model."""
    made = api.export(run, out, form)
    for name, shape in made.inputs.items():
        typer.echo(f"input {name}: uint8 {' x '.join(map(str, shape))} (clip, channel, frame, row, column)")
    typer.echo(
        f"outputs verb_logits 1 x 97, noun_logits 1 x 300; largest difference from the model {made.difference:.1g}"
    )
    typer.echo(f"a clip on this CPU: {made.torch_ms:.1f} ms in PyTorch, {made.exported_ms:.1f} ms from the file")
    typer.echo(f"wrote {made.path}")
