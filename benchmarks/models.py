"""Every model of recipes/ at its recipe's input: parameters, multiplications, clips per second.

    python benchmarks/models.py --json benchmarks/results/models.json [--plain pytorch_i3d.py] [--device cuda]

Parameters and multiply-adds are counted at the input that the figure published for the model is for (the classifier of
its data set apart), then at the recipe's. Forward and training throughput are of the recipe's clips, RGB alone, random
weights. With `--plain` the file of the public I3D port (github.com/piergiaj/pytorch-i3d) is stepped too, in fp32 and
NCDHW as it comes, turn about with ours in channels_last_3d and bfloat16: `i3d_train_over_plain` is the ratio of their
clips per second, from the medians of one run.
"""

import argparse
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import write_figures
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from epicsub.models import build_model
from epicsub.recipe import load_recipe
from epicsub.training.build import model_of

CLASSES = 400
ON_FEATURES = ("feature_heads", "temporal_relations")


class Published(NamedTuple):
    """What the authors, or the library, state of a model."""

    gmac: float
    frames: int
    size: int
    source: str


PUBLISHED = {
    "mmir_i3d_source_only": Published(27.79, 16, 224, "counted from the published table, per stream of RGB"),
    "slowfast": Published(65.71, 32, 256, "pytorchvideo model zoo"),
    "x3d": Published(6.72, 16, 256, "pytorchvideo model zoo"),
    "i3d_r50": Published(37.53, 8, 256, "pytorchvideo model zoo"),
    "r2plus1d": Published(40.52, 16, 112, "torchvision"),
    "mvit_v2": Published(64.22, 16, 224, "torchvision"),
    "video_swin": Published(43.88, 16, 224, "torchvision"),
    "timesformer": Published(196.7, 8, 224, "arXiv 2102.05095, 0.59 TFLOPs in three views"),
    "videomae": Published(180.0, 16, 224, "authors' readme"),
}


def main() -> None:
    """Count and time every model, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", type=Path, default=Path("recipes"))
    parser.add_argument("--plain", type=Path, help="pytorch_i3d.py of the public port")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    figures: dict[str, float] = {}
    print(
        f"{'recipe':22} {'M param':>8} {'GMAC':>7} {'published':>9} {'ratio':>6} {'at recipe':>9} "
        f"{'fwd/s':>7} {'train/s':>7}"
    )
    for path in models_of(arguments.recipes):
        figures |= measure(path, arguments.device, arguments.batch, arguments.steps)
    if arguments.plain:
        figures |= against_plain(arguments.plain, arguments.device, arguments.batch * 2, arguments.steps * 3)
    write_figures(arguments.json, figures, device=arguments.device, batch=arguments.batch)


def models_of(folder: Path) -> list[Path]:
    """One recipe a network: those without adaptation, once for each model section."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.yaml")):
        recipe = load_recipe(path).recipe
        if recipe.adaptation.method == "source_only" and recipe.model.name not in ON_FEATURES:
            found.setdefault(recipe.model.name, path)
    return list(found.values())


def measure(path: Path, device: str, batch: int, steps: int) -> dict[str, float]:
    """Count and time the RGB stream of one recipe."""
    name = path.stem
    recipe = load_recipe(path, ["data.modalities=[rgb]", *without_flow(path)]).recipe
    data = recipe.data
    counted = multiplications(model_of(recipe, weights=False), data.frames, data.size)
    published, at_published = PUBLISHED.get(name), None
    if published:
        changed = [
            f"data.frames={published.frames}",
            f"data.size={published.size}",
            f"data.short_side={published.size}",
        ]
        other = load_recipe(path, ["data.modalities=[rgb]", *without_flow(path), *changed]).recipe
        at_published = multiplications(model_of(other, weights=False), published.frames, published.size)
    torch.manual_seed(0)
    model = model_of(recipe, weights=False).to(device)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    clips = {"rgb": torch.randint(0, 256, (batch, 3, data.frames, data.size, data.size), dtype=torch.uint8).to(device)}
    forward = batch / seconds(lambda: predict(model, clips), steps, device)
    train = batch / seconds(lambda: step(model, clips), steps, device)
    row = f"{name:22} {parameters / 1e6:8.2f} "
    row += (
        f"{at_published:7.2f} {published.gmac:9.2f} {at_published / published.gmac:6.3f} "
        if published and at_published
        else " " * 25
    )
    print(row + f"{counted:9.2f} {forward:7.2f} {train:7.2f}", flush=True)
    figures = {
        f"{name}_parameters": parameters,
        f"{name}_gmac": counted,
        f"{name}_forward_clips_per_second": forward,
        f"{name}_train_clips_per_second": train,
    }
    if published and at_published:
        figures |= {
            f"{name}_gmac_published": published.gmac,
            f"{name}_gmac_over_published": at_published / published.gmac,
        }
    return figures


def without_flow(path: Path) -> list[str]:
    """Overrides that leave a recipe's flow stream out."""
    return ["model.weights={rgb: null}"] if len(load_recipe(path).recipe.data.modalities) > 1 else []


def multiplications(model: nn.Module, frames: int, size: int) -> float:
    """Multiply-adds of one clip, in 1e9; without memory, where the model allows."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.eval()({"rgb": torch.zeros(1, 3, frames, size, size, dtype=torch.uint8)})
    return counter.get_total_flops() / 2e9


def predict(model: nn.Module, clips: dict[str, Tensor]) -> None:
    """One forward pass of evaluation."""
    model.eval()
    with torch.inference_mode():
        model(clips)


def step(model: nn.Module, clips: dict[str, Tensor]) -> None:
    """Forward and backward of one training step, as both heads' logits give it."""
    model.train()
    output = model(clips)
    (output.verb_logits_BV.logsumexp(1).sum() + output.noun_logits_BN.logsumexp(1).sum()).backward()
    model.zero_grad(set_to_none=True)


def seconds(call: Callable[[], Any], times: int, device: str) -> float:
    """Median seconds of a call, after one that is not counted."""
    call()
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def against_plain(path: Path, device: str, batch: int, times: int) -> dict[str, float]:
    """Training steps of the public I3D in fp32 and NCDHW, and of ours, in turn."""
    spec = importlib.util.spec_from_file_location("pytorch_i3d", path)
    assert spec is not None
    assert spec.loader is not None
    port = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(port)
    torch.manual_seed(0)
    plain = port.InceptionI3d(CLASSES, in_channels=3).to(device).train()
    ours = build_model("i3d", ["rgb"], weights={"rgb": None}).to(device)
    clip = torch.rand(batch, 3, 16, 224, 224, device=device) * 2 - 1
    pixels = {"rgb": ((clip + 1) * 127.5).to(torch.uint8)}

    def plain_step() -> None:
        plain(clip).logsumexp(1).sum().backward()
        plain.zero_grad(set_to_none=True)

    def our_step() -> None:
        kind = device.partition(":")[0]
        with torch.autocast(kind, torch.bfloat16) if kind in ("cpu", "cuda") else nullcontext():
            step(ours, pixels)

    spent: dict[str, list[float]] = {"plain": [], "ours": []}
    plain_step(), our_step()
    for _ in range(times):
        spent["plain"].append(seconds_once(plain_step, device))
        spent["ours"].append(seconds_once(our_step, device))
    clips = {name: batch / statistics.median(values) for name, values in spent.items()}
    ratio = clips["ours"] / clips["plain"]
    print(
        f"I3D training, clips a second: public port {clips['plain']:.3f}, ours {clips['ours']:.3f}, ratio {ratio:.2f}"
    )
    return {
        "i3d_train_plain_clips_per_second": clips["plain"],
        "i3d_train_clips_per_second": clips["ours"],
        "i3d_train_over_plain": ratio,
    }


def seconds_once(call: Callable[[], Any], device: str) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
