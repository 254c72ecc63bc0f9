"""Pre-training by order: what it gives over random weights, what the policy gives over the even draw, what it costs.

    python benchmarks/order.py --out outputs/order --json benchmarks/results/order.json

For each seed, small kitchens without noise of their own, and on them the arms, all with the same clips, weights at the
start and steps: random weights, uniform, policy, and the policy with its reward negated. Then a linear probe: batch
norms are refreshed on the training clips, the same way in every arm, the trunk is frozen, and logistic regression on
its features tells the verb, scored on held-out clips of the same kitchens and on the target's. It is the smallest size
that two shared cores allow: tiles alone (--tasks), 32 pixels, 300 steps. Differences are paired over seeds, with 95 %
intervals (t).

`toy_policy_finds_useful` is the share of 20 seeds of the toy world (order_toy.py) in which the policy ends with more
than half of its probability on the group that teaches most; `policy_overhead` the seconds of a check over those of the
steps between two, at the recipe's own 512 items, 100 steps and 32 clips.

Everything finished is kept in --out and not done again; a killed run goes on. A difference is of the seeds that have
both of its arms, `NAME_seeds` says how many; with fewer than two there is none. `--report` writes what is there.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from machine import benchmark_parser, write_figures
from order_toy import toy_run
from pairs import interval
from torch import Tensor, nn

from epicsub.api.pretrain import pretrain
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.io import write_text
from epicsub.models.streams import TwoStream
from epicsub.pretext.policy import PolicySettings
from epicsub.recipe import Recipe, load_recipe
from epicsub.synth import SynthSettings, make_kitchens
from epicsub.training.build import model_of
from epicsub.training.layers import batch_norms
from epicsub.training.loaders import view_loader
from epicsub.training.order_items import hold_out, order_loader, read_items
from epicsub.training.order_state import build_order_state, check, order_step, shuffle_of
from epicsub.training.preflight import prepare
from epicsub.training.processes import make_fabric

RECIPE = "tiny/order_i3d"
SIZES = {"train": 180, "heldout": 72, "validation": 72, "test": 12}
COMMON = (
    "data.workers=0", "data.size=32", "data.short_side=36", "pretext.phase=15", "pretext.items=72",
    "train.stages.0.learning_rate=3e-2", "train.stages.1.learning_rate=3e-3", "train.checkpoint_every=75",
)  # fmt: skip
ARMS = {
    "random": None,
    "uniform": ("pretext.choice=uniform",),
    "policy": ("pretext.choice=policy",),
    "negated": ("pretext.choice=policy", "pretext.negated=true"),
}
LISTS = {"train": "EPIC_100_train.csv", "heldout": "source_heldout.csv", "target": "EPIC_100_validation.csv"}
PAIRS = {"uniform_over_random": ("uniform", "random"), "policy_over_uniform": ("policy", "uniform"),
         "negated_over_uniform": ("negated", "uniform")}  # fmt: skip
TOY_SEEDS = 20
DECAY = 1e-2  # of the probe's weights, on standardised features; the same in every arm


def main() -> None:
    """Measure with the command's options, and write what is there."""
    given = arguments()
    torch.set_num_threads(1)
    if not given.report:
        kept(given.out / "toy.json", toy_world)
        if not given.toy:
            kept(given.out / "overhead.json", lambda: {"policy_overhead": policy_overhead(given.out)})
            for seed in range(given.seeds):
                for arm in ARMS:
                    kept(probe_file(given, arm, seed), lambda arm=arm, seed=seed: run_arm(given, arm, seed))
    known = [file for file in (given.out / "toy.json", given.out / "overhead.json") if file.is_file()]
    report(given, {name: value for file in known for name, value in json.loads(file.read_text()).items()})


def arguments() -> argparse.Namespace:
    """The command's options."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/order"))
    parser.add_argument("--seeds", type=int, default=20, help="pairs, from seed 0")
    parser.add_argument("--steps", type=int, default=300, help="of pre-training, the last fifth at a tenth of the rate")
    parser.add_argument("--tasks", choices=["spatial", "temporal", "both"], default="spatial")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the figures of what is there")
    parser.add_argument("--toy", action="store_true", help="the toy world alone")
    return parser.parse_args()


def kept(file: Path, make) -> dict:
    """What a file holds, made and written if it is not there."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(make()) + "\n")
    return json.loads(file.read_text())


def toy_world() -> dict[str, float]:
    """The toy world: does each policy find the useful group, and does a negated one miss it?"""
    arms = {
        "policy": ("policy", PolicySettings()),
        "uniform": ("uniform", PolicySettings()),
        "negated": ("policy", PolicySettings(negated=True)),
        "clip": ("policy", PolicySettings(credit="clip")),
        "network": ("policy", PolicySettings(policy="network")),
        "trend": ("policy", PolicySettings(baseline="trend")),
    }
    figures = {}
    for name, (choice, settings) in arms.items():
        runs = [toy_run(seed, choice, settings) for seed in range(TOY_SEEDS)]
        figures[f"toy_{name}_finds_useful"] = float(np.mean([run.useful > 0.5 for run in runs]))
        figures[f"toy_{name}_probability"] = float(np.mean([run.useful for run in runs]))
        figures[f"toy_{name}_error"] = float(np.mean([run.error for run in runs]))
    return figures


def changes_of(given: argparse.Namespace, arm: str, seed: int) -> list[str]:
    """Overrides of an arm; those of random weights are of the uniform one, whose weights at the start they are."""
    last = given.steps // 5
    steps = (f"train.stages.0.steps={given.steps - last}", f"train.stages.1.steps={last}")
    return [*COMMON, *steps, f"pretext.tasks={given.tasks}", f"seed={seed + 1}", *(ARMS[arm] or ARMS["uniform"])]


def probe_file(given: argparse.Namespace, arm: str, seed: int) -> Path:
    """Where an arm's scores are."""
    return given.out / "probes" / f"{given.tasks}_{given.steps}" / f"{arm}_{seed}.json"


def run_arm(given: argparse.Namespace, arm: str, seed: int) -> dict[str, float]:
    """Pre-train an arm, unless it is random, and probe its trunk."""
    kitchens = given.out / "kitchens" / str(seed)
    make_kitchens(kitchens, SynthSettings(seed=seed, noise=0, **SIZES))
    changes, found = changes_of(given, arm, seed), {}
    folder = given.out / "runs" / f"{given.tasks}_{given.steps}" / f"{arm}_{seed}"
    if ARMS[arm] is not None:
        files = pretrain(RECIPE, changes, out=folder, data=kitchens)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        last = [line for line in lines if line["kind"] == "order"][-1]
        found = {name: value for name, value in last.items() if name.endswith(("/error",)) or "/pi_" in name}
        changes += [f"model.weights={{rgb: {files['rgb'].absolute()}}}"]
    recipe = load_recipe(RECIPE, changes).recipe
    torch.manual_seed(recipe.seed)
    return found | probe(model_of(recipe, weights=True), recipe, DataRoot(kitchens))


def probe(model: nn.Module, recipe: Recipe, root: DataRoot) -> dict[str, float]:
    """Verb top-1 in percent of logistic regression on the frozen trunk's features."""
    clips, labels = {}, {}
    for part, name in LISTS.items():
        segments = root.segments(name)
        clips[part] = torch.cat([views["rgb"][:, 0] for _, views in view_loader(recipe, root, segments, Views())])
        labels[part] = torch.tensor([segment.verb_class for segment in segments])
    refresh(model, clips["train"])
    features = {part: features_of(model, clip) for part, clip in clips.items()}
    mean, spread = features["train"].mean(0), features["train"].std(0).clamp_min(1e-6)
    seen = {part: ((x - mean) / spread).double() for part, x in features.items()}
    classes = labels["train"].unique()
    head = nn.Linear(len(mean), len(classes)).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")
    target = torch.searchsorted(classes, labels["train"])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(seen["train"]), target) + DECAY * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    answers = {part: classes[head(x).argmax(1)] for part, x in seen.items()}
    return {f"{part}_verb": 100 * float((answers[part] == labels[part]).double().mean()) for part in LISTS}


@torch.no_grad()
def refresh(model: nn.Module, clip_NCTSS: Tensor) -> None:
    """Statistics of batch norms over the training clips in their right order, the mean of all batches."""
    for layer in batch_norms(model):
        layer.reset_running_stats()
        layer.momentum = None
    model.train()
    for batch in clip_NCTSS.split(30):
        model.pool({"rgb": batch})
    model.eval()


@torch.no_grad()
def features_of(model: TwoStream, clip_NCTSS: Tensor) -> Tensor:
    """Pooled features (N, D)."""
    return torch.cat([model.pool({"rgb": batch})[0]["rgb"] for batch in clip_NCTSS.split(30)])


def policy_overhead(out: Path) -> float:
    """Processor time of a check of 512 items over that of 100 steps of 32 clips, both read before."""
    kitchens = out / "kitchens" / "0"
    make_kitchens(kitchens, SynthSettings(seed=0, noise=0, **SIZES))
    changes = ["data.workers=0", "pretext.items=512", "pretext.phase=100", "train.stages.0.source_batch=32"]
    loaded = load_recipe(RECIPE, changes)
    recipe, domains = loaded.recipe, prepare(loaded, DataRoot(kitchens), out, writes=False)
    held, fabric = hold_out(domains.target, recipe.pretext.held_out), make_fabric(recipe.train, 1)
    state = build_order_state(recipe, fabric, None)
    items = read_items(recipe, domains, held, state.tasks, shuffle_of(recipe))
    loader = iter(order_loader(recipe, domains, held, 0, 0))
    seconds = []
    for _ in range(4):
        began = time.process_time()
        order_step(fabric, recipe, state, next(loader), 1e-3)  # with reading, which is a part of a step
        seconds.append(time.process_time() - began)
    began = time.process_time()
    check(fabric, recipe, state, items)
    return (time.process_time() - began) / (recipe.pretext.phase * float(np.mean(seconds[1:])))


def report(given: argparse.Namespace, figures: dict[str, float]) -> None:
    """Print and write the figures of what is there; a difference is of the seeds that have both of its arms."""
    files = {arm: {seed: probe_file(given, arm, seed) for seed in range(given.seeds)} for arm in ARMS}
    runs = {arm: {s: json.loads(f.read_text()) for s, f in of.items() if f.is_file()} for arm, of in files.items()}
    found = dict(figures)
    for arm, of in runs.items():
        if not of:
            continue
        found[f"{arm}_seeds"] = float(len(of))
        for part in ("heldout", "target"):
            found[f"{arm}_probe_{part}"] = float(np.mean([run[f"{part}_verb"] for run in of.values()]))
        errors = [value for run in of.values() for name, value in run.items() if name.endswith("/error")]
        if errors:
            found[f"{arm}_order_error"] = float(np.mean(errors))
    for name, (one, other) in PAIRS.items():
        both = sorted(runs[one].keys() & runs[other].keys())
        found[f"{name}_seeds"] = float(len(both))
        for part, end in (("heldout", ""), ("target", "_target")):
            gain = np.array([runs[one][s][f"{part}_verb"] - runs[other][s][f"{part}_verb"] for s in both])
            if len(gain) > 1:  # an interval needs two
                label, half = f"{name}_probe{end}", interval(gain)
                found |= {label: float(gain.mean()), f"{label}_low": float(gain.mean() - half)}
                found[f"{label}_high"] = float(gain.mean() + half)
    for name, value in found.items():
        print(f"{name:40} {value:8.3f}", flush=True)
    kept_runs = {arm: [{"seed": seed, **run} for seed, run in of.items()] for arm, of in runs.items()}
    write_figures(given.json, found, tasks=given.tasks, steps=given.steps, runs=kept_runs)


if __name__ == "__main__":
    main()
