"""Every model of recipes/: parameters, multiply-adds beside the published figure, clips per second.

    python benchmarks/models.py --json benchmarks/results/models.json [--only NAME ...] [--device cuda]
    python benchmarks/models.py --json benchmarks/results/models.json --recipes none --plain pytorch_i3d.py

One row a network, of its RGB stream with random weights. Multiply-adds are counted at the input that the published
figure is for (benchmarks/models_published.py), then at the recipe's. Throughput is of the recipe's clips, forward and
in a training step (forward, loss, backward), in several modes: `plain` is fp32 in NCDHW, `fp32` and `bf16` are in
channels_last_3d as training runs them (train.precision), `compiled` is bf16 with train.compile. A file that holds
figures of this machine and these versions keeps those that are not measured again, so the models can be measured in
several runs; figures of another device, batch or number of threads are not mixed with them, but refused.

On a GPU `--device cuda` measures all four modes. Its fp32 convolutions are TF32's, as PyTorch has them.

With `--plain` the file of the public I3D port (github.com/piergiaj/pytorch-i3d) is stepped too, in fp32 and NCDHW as it
comes, alternating with ours in channels_last_3d and bfloat16: `i3d_train_over_plain` is the ratio of their clips per
second, from the medians of one run.
"""

import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))  # for those who import this file: beside it lie the next two

from machine import benchmark_parser, kept_figures, write_figures
from models_published import (
    WITHIN,
    count_as_published,
    of_clip,
    published_of,
    rgb_alone,
)

from epicsub.models.build import build_model
from epicsub.recipe import load_recipe
from epicsub.training.build import model_of

CLASSES = 400
ON_FEATURES = ("feature_heads", "temporal_relations", "context")
MODES = {"cpu": ["fp32", "bf16"], "cuda": ["plain", "fp32", "bf16", "compiled"]}
WARM = 2  # steps that are not counted: the first ones pay for memory that later ones use again
Seconds = dict[str, list[float]]


def main() -> None:
    """Count and time the models, print a table, write the figures."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--recipes", type=Path, default=Path("recipes"))
    parser.add_argument("--only", nargs="+", help="recipes to measure, by name")
    parser.add_argument("--modes", nargs="+", choices=MODES["cuda"], help="default: fp32 bf16; all of them on a GPU")
    parser.add_argument("--plain", type=Path, help="pytorch_i3d.py of the public port")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="clips; twice as many with --plain")
    parser.add_argument("--steps", type=int, default=3, help="timed steps; four times as many with --plain")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    modes = given.modes or MODES[given.device.partition(":")[0]]
    found = models_of(given.recipes)
    if unknown := set(given.only or ()) - set(found):
        parser.error(f"--only {' '.join(sorted(unknown))}: not among {', '.join(found)}")
    figures, notes = kept_figures(given.json, "notes")
    print(f"{'recipe':22} {'M param':>8} {'GMAC':>7} {'published':>9} {'at':>6} {'ratio':>6} {'recipe':>6} ", end="")
    print(" ".join(f"{mode + ' fwd':>13} {'train':>6}" for mode in modes))
    settings: dict[str, object] = kept_figures(given.json, "settings")[1]
    now = {"device": given.device, "batch": given.batch, "threads": torch.get_num_threads()}
    if others := {key: settings[key] for key, value in now.items() if settings.get(key, value) != value}:
        parser.error(f"{given.json} holds figures of {others}, this run would add some of {now}: name another file")
    settings |= now
    for name, path in found.items():
        if given.only is None or name in given.only:
            measured, note = measure(path, modes, given.device, given.batch, given.steps)
            figures, notes = figures | measured, notes | note
            write_figures(given.json, figures, notes=notes, settings=settings)
    if given.plain:
        spent = against_plain(given.plain, given.device, given.batch * 2, given.steps * 4)
        settings |= {"plain_batch": given.batch * 2, "plain_seconds": spent}
        write_figures(given.json, figures | ratio(spent, given.batch * 2), notes=notes, settings=settings)


def models_of(folder: Path) -> dict[str, Path]:
    """One recipe a network, by name: those without adaptation, once for each model section."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.yaml")):
        recipe = load_recipe(path).recipe
        plain = recipe.pretext is None and recipe.data.boxes is None
        if plain and recipe.adaptation.method == "source_only" and recipe.model.name not in ON_FEATURES:
            found.setdefault(recipe.model.name, path)
    return {path.stem: path for path in found.values()}


def measure(
    path: Path, modes: list[str], device: str, batch: int, times: int
) -> tuple[dict[str, float], dict[str, str]]:
    """Count and time the RGB stream of one recipe; the figures, and what is to be said of them."""
    name, recipe = path.stem, load_recipe(path, rgb_alone(path)).recipe
    frames, size = recipe.data.frames, recipe.data.size
    with torch.device("meta"):
        figures = {f"{name}_gmac": of_clip(model_of(recipe, weights=False), frames, size)}
    torch.manual_seed(0)
    model = model_of(recipe, weights=False).to(device)
    figures[f"{name}_parameters"] = sum(parameter.numel() for parameter in model.parameters())
    row, notes = f"{name:22} {figures[f'{name}_parameters'] / 1e6:8.2f} ", {}
    if published := published_of(path):
        count = count_as_published(path, published)
        share = count / published.gmac
        figures |= {f"{name}_gmac_published": published.gmac, f"{name}_gmac_over_published": share}
        row += f"{count:7.2f} {published.gmac:9.2f} {published.frames:>2}x{published.size} {share:6.3f} "
        notes[name] = f"published: {published.source}" + (f"; {published.note}" if published.note else "")
        if abs(share - 1) > WITHIN and not published.note:
            raise SystemExit(f"{name}: {count:.2f} GMAC are not within 3 % of {published}, and nothing explains it")
    else:
        row += " " * 32
    print(f"{row}{figures[f'{name}_gmac']:6.2f} ", end="", flush=True)
    clips = {"rgb": torch.randint(0, 256, (batch, 3, frames, size, size), dtype=torch.uint8).to(device)}
    for mode in modes:
        with mode_of(model, mode, device) as autocast:
            forward = batch / median(lambda autocast=autocast: predict(model, clips, autocast), times, device)  # type: ignore[misc]
            train = batch / median(lambda autocast=autocast: step(model, clips, autocast), times, device)  # type: ignore[misc]
        print(f"{forward:13.2f} {train:6.2f} ", end="", flush=True)
        figures |= {
            f"{name}_{mode}_forward_clips_per_second": forward,
            f"{name}_{mode}_train_clips_per_second": train,
        }
    print("\n" + "".join(f"    {note}\n" for note in notes.values()), end="", flush=True)
    return figures, notes


@contextmanager
def mode_of(model: nn.Module, mode: str, device: str) -> Iterator[Callable[[], Any]]:
    """Put a model into a mode; gives the autocast to call it in. `compiled` stays: it comes last."""
    trunks = [stream.trunk for stream in model.streams.values()]  # type: ignore[union-attr, operator]
    if mode == "plain":  # a stream gives its trunk channels_last_3d: undo it
        for trunk in trunks:
            inside = trunk.features
            trunk.features = lambda x, inside=inside: inside(x.contiguous())
    if mode == "compiled":
        model.compile()
    half = mode in ("bf16", "compiled")
    yield lambda: torch.autocast(device.partition(":")[0], torch.bfloat16) if half else nullcontext()
    if mode == "plain":
        for trunk in trunks:
            del trunk.features  # the method of the class again


def predict(model: nn.Module, clips: dict[str, Tensor], autocast: Callable[[], Any]) -> None:
    """One forward pass of evaluation."""
    model.eval()
    with torch.inference_mode(), autocast():
        model(clips)


def step(model: nn.Module, clips: dict[str, Tensor], autocast: Callable[[], Any]) -> None:
    """Forward and backward of one training step, as both heads' logits give it."""
    model.train()
    with autocast():
        output = model(clips)
        loss = output.verb_logits_BV.logsumexp(1).sum() + output.noun_logits_BN.logsumexp(1).sum()
    loss.backward()
    model.zero_grad(set_to_none=True)


def median(call: Callable[[], Any], times: int, device: str) -> float:
    """Median seconds of a call, after those that are not counted."""
    for _ in range(WARM):
        call()
    return statistics.median(seconds(call, device) for _ in range(times))


def seconds(call: Callable[[], Any], device: str) -> float:
    """Seconds of one call, with all that it started on the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began


def against_plain(path: Path, device: str, batch: int, times: int) -> Seconds:
    """Seconds of training steps of the public I3D in fp32 and NCDHW, and of ours, in turn."""
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
        step(ours, pixels, lambda: torch.autocast(device.partition(":")[0], torch.bfloat16))

    spent: Seconds = {"plain": [], "ours": []}
    for number in range(-WARM, times):
        for name, call in (("plain", plain_step), ("ours", our_step)):
            took = seconds(call, device)
            if number >= 0:
                spent[name].append(took)
    return spent


def ratio(spent: Seconds, batch: int) -> dict[str, float]:
    """Clips per second of both, and ours over the port's, from the medians."""
    clips = {name: batch / statistics.median(values) for name, values in spent.items()}
    over = clips["ours"] / clips["plain"]
    print(
        f"I3D training, clips per second: public port {clips['plain']:.3f}, ours {clips['ours']:.3f}, ratio {over:.2f}"
    )
    return {
        "i3d_train_plain_clips_per_second": clips["plain"],
        "i3d_train_clips_per_second": clips["ours"],
        "i3d_train_over_plain": over,
    }


if __name__ == "__main__":
    main()
