"""A trained model as one file that other programs run: ONNX, or a program of torch.export."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from epicsub.api.predict import ClipModel, load_model
from epicsub.errors import InferenceError
from epicsub.io import atomic_write, user_path
from epicsub.modality import MODALITIES

Format = Literal["onnx", "torch"]
TOLERANCE = 1e-4
"""by which logits may differ from the model's"""
SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}
TIMED = 5


class _Logits(nn.Module):
    """uint8 clips, one argument per modality, to verb and noun logits."""

    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        self.network, self.modalities = model.network, tuple(model.recipe.data.modalities)

    def forward(self, *clips: Tensor) -> tuple[Tensor, Tensor]:
        output = self.network(dict(zip(self.modalities, clips, strict=True)))
        return output.verb_logits_BV, output.noun_logits_BN


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how it compares."""

    path: Path
    inputs: dict[str, tuple[int, ...]]
    """shape of the uint8 clip of each modality"""
    difference: float
    """largest of a logit from the model's, over two clips"""
    torch_ms: float
    """of a clip on this machine's CPU, the median of five"""
    exported_ms: float


def export(run: str | Path, out: str | Path | None = None, form: Format = "onnx") -> Exported:
    """Write a trained model as one file, and check that it gives the same logits.

    Args:
        run: a checkpoint, a run, or hf://ORG/NAME.
        out: the file. Default: beside the working folder's outputs, by the run's name.
        form: onnx, or torch for a program of torch.export.

    Returns:
        The file, with its difference and times beside the model's.

    Raises:
        InferenceError: no such run, it reads features, the extra onnx is missing, the model cannot be exported, or its
            file gives other logits: nothing was written then.
    """
    if form == "onnx":
        _require_onnx()
    model = load_model(run, device="cpu")
    recipe = model.recipe
    if recipe.data.features:
        raise InferenceError(f"{recipe.name} reads features, not clips: only models that read videos are exported")
    path = user_path(out) if out is not None else Path(f"{recipe.name}{SUFFIXES[form]}")
    if path.suffix != SUFFIXES[form]:
        raise InferenceError(f"{path}: a file of --format {form} ends in {SUFFIXES[form]}: name such a file with --out")
    cut, network = recipe.data.video(), _Logits(model).eval()
    shapes: dict[str, tuple[int, ...]] = {
        name: (1, MODALITIES[name].channels, cut.frames, cut.size, cut.size) for name in recipe.data.modalities
    }
    generator = torch.Generator().manual_seed(0)
    trials = [
        tuple(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for shape in shapes.values())
        for _ in range(2)
    ]
    with atomic_write(path) as temporary:
        try:
            with torch.inference_mode(False), torch.no_grad():
                _write(network, trials[0], list(shapes), temporary, form)
        except Exception as error:  # whatever the exporter meets in a model that it does not know
            raise InferenceError(
                f"{recipe.name}: cannot be exported as {form} by PyTorch {torch.__version__} ({type(error).__name__}); "
                f"try --format {'torch' if form == 'onnx' else 'onnx'}; nothing was written"
            ) from error
        call = _opened(temporary, list(shapes), form)
        with torch.inference_mode():
            difference = max(
                float(np.abs(own.numpy() - other).max())
                for clips in trials
                for own, other in zip(network(*clips), call(*clips), strict=True)
            )
            times = [_milliseconds(lambda: network(*trials[0])), _milliseconds(lambda: call(*trials[0]))]
        if not difference <= TOLERANCE:
            raise InferenceError(
                f"{path}: its logits would differ from the model's by {difference:.2g}, over {TOLERANCE:g}: nothing "
                "was written; try the other --format"
            )
    return Exported(path, shapes, difference, *times)


def _write(network: nn.Module, clips: Sequence[Tensor], names: list[str], path: Path, form: Format) -> None:
    if form == "torch":
        torch.export.save(torch.export.export(network, tuple(clips)), path)
        return
    program = torch.onnx.export(
        network,
        tuple(clips),
        dynamo=True,
        input_names=names,
        output_names=["verb_logits", "noun_logits"],
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)


def _opened(path: Path, names: list[str], form: Format) -> Callable[..., list[np.ndarray]]:
    """A function of clips that runs what was written."""
    if form == "torch":
        module = torch.export.load(path).module()
        return lambda *clips: [logits.numpy() for logits in module(*clips)]
    import onnxruntime  # the extra onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def call(*clips: Tensor) -> list[np.ndarray]:
        found: list[np.ndarray] = session.run(None, {n: clip.numpy() for n, clip in zip(names, clips, strict=True)})
        return found

    return call


def _milliseconds(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(TIMED + 1):
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return float(np.median(times[1:]))  # the first one warms up


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401  # the extra onnx, which only this needs
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InferenceError(
            "ONNX needs packages of the extra onnx: pip install 'epicsub[onnx]'; --format torch does not"
        ) from error
