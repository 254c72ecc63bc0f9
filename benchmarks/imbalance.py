"""Losses and samplers for rare classes, on frozen features of small kitchens made imbalanced, over paired seeds.

    python benchmarks/imbalance.py --model outputs/tiny_source_only --json benchmarks/results/imbalance.json
    python benchmarks/imbalance.py --lists --json benchmarks/results/imbalance.json     # what each seed learns from

The features are of a trained run of `recipes/tiny/source_only.yaml`, for kitchens of another seed: that model has seen
none of these segments, as a backbone published elsewhere has not. `recipes/tiny/features_source_only.yaml` trains heads
on them. The small kitchens' classes are nearly even, so each seed draws a training list of its own in which both verbs
and nouns fall from the most frequent to the rarest on exponential curves to a `--ratio`-th, as long-tailed benchmarks
are made (arXiv 1901.05555, section 5.1); every arm of a seed learns from the same list, in the same order, from the
same first weights. "Rare" is the rarer half of the verbs or of the nouns; an action is rare if its verb or its noun
is, as the organisers count it. The held-out segments keep their nearly even shares. Each arm has its method's defaults
here, chosen before the first run; none was tuned. A finished run is kept in --out, so that a stopped benchmark resumes.
`--lists` plans the kitchens without drawing them, says how many segments of which classes each seed has, and trains
nothing.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from machine import benchmark_parser, compact, write_figures
from pairs import paired, spread
from runner import epicsub

from epicsub.data.annotations import read_segments
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.inference.predict import predict
from epicsub.inference.targets import resolve_target
from epicsub.io import write_text
from epicsub.recipe import load_recipe
from epicsub.synth import SynthSettings
from epicsub.synth.plan import plan_videos
from epicsub.synth.write import write_tables
from epicsub.training.loaders import view_loader
from epicsub.training.loop import fit
from epicsub.training.preflight import prepare

RECIPE = Path("recipes/tiny/features_source_only.yaml")


def both(loss: str) -> list[str]:
    """The same loss for both heads."""
    return [f"train.losses={{verb: {loss}, noun: {loss}}}"]


PLAIN = "cross-entropy"
ARMS = {
    PLAIN: [],
    "focal": both("{name: focal}"),
    "class weights, square root": both("{class_weights: square_root}"),
    "class weights, effective number": both("{class_weights: effective_number, beta: 0.99}"),
    "logit-adjusted": both("{name: logit_adjusted}"),
    "label smoothing 0.1": both("{label_smoothing: 0.1}"),
    "equalised": both("{name: equalised, tail_share: 0.1}"),
    "third head over actions": ["train.losses.action={}"],
    "square-root sampling by action": ["train.sampling={balance: square_root, by: action}"],
    "class-balanced sampling by verb": ["train.sampling={balance: class, by: verb}"],
    "class-balanced sampling by noun": ["train.sampling={balance: class, by: noun}"],
    "class-balanced sampling by action": ["train.sampling={balance: class, by: action}"],
    "each drawn segment twice": ["train.sampling={repeats: 2}"],
}
SIZES = {"seed": 1, "train": 2400, "heldout": 800, "validation": 1, "test": 1}
TRAIN, HELDOUT = "EPIC_100_train.csv", "source_heldout.csv"
HEADS = ("verb", "noun")
TASKS, GROUPS = (*HEADS, "action"), ("all", "rare", "frequent")
MEASURES = ("rare verb", "rare noun", "rare action", "all action")  # compared with the plain arm, fixed beforehand
Scores = dict[str, float]


def main() -> None:
    """Make kitchens and features, train every arm and seed, score, print the tables."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--model", default="outputs/tiny_source_only", help="a run of recipes/tiny/source_only.yaml")
    parser.add_argument("--kitchens", type=Path, default=Path("kitchens_imbalance"))
    parser.add_argument("--out", type=Path, default=Path("outputs/imbalance"))
    parser.add_argument("--seeds", type=int, default=10, help="0 to SEEDS - 1")
    parser.add_argument("--ratio", type=float, default=20.0)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    parser.add_argument("--lists", action="store_true", help="print what each seed learns from; train nothing")
    arguments = parser.parse_args()
    if arguments.lists:
        write_lists(planned_lists(arguments.ratio, arguments.seeds), arguments.ratio, arguments.json)
        return
    torch.set_num_threads(1)
    data = ("--data", str(arguments.kitchens))
    epicsub("data", "synth", str(arguments.kitchens), *(word for k, n in SIZES.items() for word in (f"--{k}", str(n))))
    epicsub("data", "flow", "--bound", "4", *data)
    made = str(arguments.kitchens / "features" / "source_only")
    epicsub("data", "features", arguments.model, "-o", made, "--list", TRAIN, "--list", HELDOUT, *data)
    root = DataRoot(arguments.kitchens)
    train, heldout = (pd.read_csv(root.annotations(name)) for name in (TRAIN, HELDOUT))
    found: dict[str, list[Scores]] = {arm: [] for arm in arguments.arms}
    lists = []
    for seed in range(arguments.seeds):
        kept = imbalanced(train, arguments.ratio, seed)
        lists.append(counts(kept, heldout))
        for arm in arguments.arms:
            found[arm].append(run(arm, seed, kept, root, arguments.out))
            print(f"seed {seed}, {arm}: " + ", ".join(f"{name} {found[arm][-1][name]:.1f}" for name in MEASURES))
    print_lists(lists)
    report(found, arguments.json, lists=lists, settings={"ratio": arguments.ratio, "seeds": arguments.seeds})


def imbalanced(train: pd.DataFrame, ratio: float, seed: int) -> pd.DataFrame:
    """The segments that a seed learns from: each is kept by the share of its verb times that of its noun."""
    share = np.ones(len(train))
    for key in ("verb_class", "noun_class"):
        ranked = train[key].value_counts().index
        target = pd.Series(ratio ** -(np.arange(len(ranked)) / (len(ranked) - 1)), index=ranked)
        even = train[key].map(train[key].value_counts(normalize=True))
        share *= train[key].map(target).to_numpy() / even.to_numpy()
    return train[np.random.default_rng(seed).random(len(train)) < share / share.max()]


def planned_lists(ratio: float, seeds: int) -> list[dict[str, Any]]:
    """What each seed learns from and is scored on; the kitchens' tables follow from their plan alone."""
    settings = SynthSettings(**SIZES)
    with TemporaryDirectory() as name:
        write_tables(Path(name), settings, plan_videos(settings))
        train, heldout = (pd.read_csv(Path(name) / "annotations" / file) for file in (TRAIN, HELDOUT))
    return [counts(imbalanced(train, ratio, seed), heldout) for seed in range(seeds)]


def counts(kept: pd.DataFrame, heldout: pd.DataFrame) -> dict[str, Any]:
    """Segments that a seed learns from, of each class, the most frequent first, and the rare ones that are scored."""
    made: dict[str, Any] = {
        "segments": len(kept),
        "rare scored": {k: int(n.sum()) for k, n in rare_of(kept, heldout).items()},
    }
    for task in HEADS:
        made[task] = {str(k): int(n) for k, n in kept[f"{task}_class"].value_counts().items()}
    return made


def rare_of(kept: pd.DataFrame, heldout: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which held-out segments are of a rare verb, noun, action: not of the more frequent half of those kept."""
    rare = {}
    for task in HEADS:
        ranked = kept[f"{task}_class"].value_counts().index
        rare[task] = ~heldout[f"{task}_class"].isin(ranked[: len(ranked) // 2]).to_numpy()
    return rare | {"action": rare["verb"] | rare["noun"]}


def print_lists(lists: list[dict[str, Any]]) -> None:
    """Print how many segments of each class each seed learns from, and of how many rare classes how many score."""
    print("\n| seed | segments | of each verb | of each noun | rare: verbs, scored | nouns, scored | actions scored |")
    print("|---|---|---|---|---|---|---|")
    for seed, one in enumerate(lists):
        cells = [one["segments"], *(" ".join(map(str, one[task].values())) for task in HEADS)]
        cells += [f"{len(one[task]) - len(one[task]) // 2}, {one['rare scored'][task]}" for task in HEADS]
        print(f"| {seed} | " + " | ".join(map(str, [*cells, one["rare scored"]["action"]])) + " |")


def write_lists(lists: list[dict[str, Any]], ratio: float, path: Path | None) -> None:
    """Print the lists, and put them beside the figures that a file holds of them."""
    print_lists(lists)
    if path is not None:
        held = json.loads(path.read_text())
        if (held["settings"]["ratio"], held["settings"]["seeds"]) != (ratio, len(lists)):
            raise SystemExit(f"{path} is of other lists: {held['settings']}")
        write_text(path, compact(held | {"lists": lists}) + "\n")


def run(arm: str, seed: int, kept: pd.DataFrame, root: DataRoot, out: Path) -> Scores:
    """Scores of one run in percent, made once."""
    done = out / arm.replace(" ", "_") / f"{seed}.json"
    if not done.is_file():
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out) as name:
            folder = Path(name)
            every = pd.read_csv(root.annotations(TRAIN)).narration_id
            left_out = every[~every.isin(set(kept.narration_id))]
            write_text(folder / "skip.txt", "".join(f"{narration}\n" for narration in left_out))
            quiet = ["train.log_every=1000", "train.checkpoint_every=100000"]
            loaded = load_recipe(RECIPE, [*ARMS[arm], *quiet, f"seed={seed}", f"data.skip={folder / 'skip.txt'}"])
            checkpoint = fit(loaded.recipe, prepare(loaded, root, folder), folder, None, None)
            trained = resolve_target(str(checkpoint)).load(torch.device("cpu"))
            loader = view_loader(trained.recipe, root, read_segments(root.annotations(HELDOUT)), Views())
            made = predict(trained.model, loader, len(loader), torch.device("cpu"), HELDOUT)
        heldout = pd.read_csv(root.annotations(HELDOUT))
        chosen = made.select(list(heldout.narration_id))
        predicted = {"verb": chosen.verb_logprobs.argmax(1), "noun": chosen.noun_logprobs.argmax(1)}
        write_text(done, json.dumps(accuracies(predicted, heldout, kept)) + "\n")
    scores: Scores = json.loads(done.read_text())
    return scores


def accuracies(predicted: dict[str, np.ndarray], heldout: pd.DataFrame, kept: pd.DataFrame) -> Scores:
    """Top-1 in percent over all held-out segments, those of rare classes, and the others."""
    rare = rare_of(kept, heldout)
    right = {task: classes == heldout[f"{task}_class"].to_numpy() for task, classes in predicted.items()}
    right["action"] = right["verb"] & right["noun"]
    chosen = {task: {"all": np.ones(len(heldout), bool), "rare": rare[task], "frequent": ~rare[task]} for task in TASKS}
    return {
        f"{group} {task}": 100 * float(right[task][chosen[task][group]].mean()) for task in TASKS for group in GROUPS
    }


def report(found: dict[str, list[Scores]], path: Path | None, **more: object) -> None:
    """Print the mean and standard deviation of every arm, then the paired differences to plain cross-entropy."""
    columns = [f"{group} {task}" for task in TASKS for group in GROUPS]
    print(f"\nTop-1 in percent, mean ± standard deviation over {len(next(iter(found.values())))} seeds\n")
    print("| | " + " | ".join(columns) + " |\n|---" + "|---" * len(columns) + "|")
    figures: dict[str, float] = {}
    for arm, seeds in found.items():
        print(f"| {arm} | " + " | ".join(spread([one[name] for one in seeds]) for name in columns) + " |")
        figures |= {f"{arm}: {name}": float(np.mean([one[name] for one in seeds])) for name in columns}
    if PLAIN in found:
        print(f"\nOver {PLAIN}, paired by seed: difference and half of its 95 % confidence interval (t, uncorrected)\n")
        print("| | " + " | ".join(MEASURES) + " |\n|---" + "|---" * len(MEASURES) + "|")
        for arm, seeds in found.items():
            if arm == PLAIN:
                continue
            cells = []
            for name in MEASURES:
                pairs = [(one[name], other[name]) for one, other in zip(seeds, found[PLAIN], strict=True)]
                difference, half = paired(pairs)
                figures |= {f"{arm}: {name} over {PLAIN}": difference, f"{arm}: {name} half of the interval": half}
                cells.append(f"{difference:+.1f} ± {half:.1f}")
            print(f"| {arm} | " + " | ".join(cells) + " |")
    write_figures(path, figures, by_seed=found, **more)


if __name__ == "__main__":
    main()
