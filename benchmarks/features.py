"""Every adaptation method on features of the small kitchens, over paired seeds.

    python benchmarks/features.py --kitchens kitchens --json benchmarks/results/features.json

The features come from `recipes/tiny/source_only.yaml`, trained at seeds 0, 1 and 2 (or --models FOLDER with such
runs, source_only_0 and so on): seed s of an arm reads the features of model s % 3. So they were learnt on the very
source segments that the arms learn from, and paired seeds share one of three feature sets. Every arm of a seed has
the same features, first weights, order of clips and dropout, and differs in its method alone, with that method's own
default settings, its weight of the classification loss among them; none was tuned. Runs go through the functions of
`epicsub train`; a finished one is kept in --out, so that a stopped benchmark resumes, and one that diverges is kept
as such and counted.

"Target" is the validation list: kitchens that training sees without labels. A fifth of its segments shows verbs that no
training segment has; "target, known" leaves those out. Which they are, the oracle and this script alone know. The
supervised bound learns from the labels of the test list, which is of the same kitchens.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from agent_quality import quality_of_run, report_agents
from machine import benchmark_parser, write_figures
from pairs import paired

from epicsub.data.annotations import read_segments
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.errors import TrainingError
from epicsub.inference.predict import predict
from epicsub.inference.targets import Target
from epicsub.io import write_text
from epicsub.progress import cores, in_processes, track
from epicsub.recipe import Recipe, load_recipe
from epicsub.training.checkpoint import load_checkpoint
from epicsub.training.loaders import view_loader
from epicsub.training.loop import fit
from epicsub.training.preflight import prepare

TINY = Path("recipes/tiny")
MODELS = 3  # that features come from
VIEWS = {"": "1x1", "_5x1": "5x1"}  # of a folder of features, by the end of its name
RELATIONS = "model={name: temporal_relations, dims: {rgb: 256, flow: 256}, shared: 128, hidden: 128, attention: %s}"
REFERENCE = "adversarial only"
LABELLED = "target_labelled.csv"
LISTS = ("EPIC_100_train.csv", "EPIC_100_validation.csv", "EPIC_100_test_timestamps.csv", "source_heldout.csv")
OUTLIERS = "outliers.csv"  # under the benchmark's own data root, for the oracle
TASKS = ("verb", "noun", "action")
MEASURE = "target action"  # what arms are compared by, fixed before the first run
GAINS = {"MMIR": "mmir", "min-Delta": "min_delta", "oracle": "oracle", "MMIR plus (ours)": "mmir_plus"}


@dataclass(frozen=True)
class Arm:
    """A recipe of recipes/tiny, what is changed in it, and the end of its features' name."""

    recipe: str
    changes: tuple[str, ...] = ()
    views: str = ""


def adapted(method: str, *changes: str) -> Arm:
    """The adversarial recipe with another method at its own default settings."""
    return Arm("features_adversarial.yaml", (f"adaptation={{method: {method}}}", *changes))


ARMS = {
    "source only": Arm("features_source_only.yaml"),
    "supervised": Arm(
        "features_source_only.yaml",
        ("adaptation={method: supervised}", f"data.source=[{LABELLED}]", "supervision.data=4"),
    ),
    "MMD": adapted("mmd"),
    "AdaBN": adapted("adabn", "train.stages.1.target_batch=0"),
    "MCD": adapted("mcd"),
    "adversarial only": Arm("features_adversarial.yaml"),
    "MM-SADA": adapted("mm_sada", "train.stages.0.target_batch=40", "train.stages.1.class_weight=0.2"),
    "Kim-style": adapted("contrastive"),
    "MMIR": Arm("features_mmir.yaml"),
    "random removal": adapted("random_removal"),
    "min-Delta": adapted("min_delta"),
    "oracle": Arm("features_adversarial.yaml", ("adaptation={method: oracle, outliers: OUTLIERS}",)),
    "MMIR plus (ours)": adapted("mmir_plus"),
    "MMIR, paid by the task (ours)": Arm(
        "features_mmir.yaml", ("adaptation.rewards={relevance: task, quantile: 0.2, continuous: true}",)
    ),
    "relations, source only": Arm("features_source_only.yaml", (RELATIONS % "false",), "_5x1"),
    "TA3N": Arm(
        "features_adversarial.yaml",
        (RELATIONS % "true", "adaptation={method: ta3n}", "train.stages.1.class_weight=0.5"),
        "_5x1",
    ),
}


def main() -> None:
    """Make the features, train every arm and seed, score, print the tables."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--kitchens", type=Path, default=Path("kitchens"))
    parser.add_argument("--models", type=Path, help="folder with source_only_0 ..., trained before")
    parser.add_argument("--out", type=Path, default=Path("outputs/features"))
    parser.add_argument("--seeds", type=int, default=20, help="0 to SEEDS - 1")
    parser.add_argument("--workers", type=int, default=cores(), help="runs at a time, one thread each")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ends = {ARMS[arm].views for arm in arguments.arms}
    outliers = arguments.kitchens / "answers" / "outliers.csv"
    root = make_features(arguments.kitchens, arguments.models or arguments.out / "models", arguments.out, ends)
    write_text(root.path / OUTLIERS, outliers.read_text())
    lists = scored_lists(root, outliers)
    jobs = [
        Job(arm, seed, root, arguments.out, lists)
        for seed in range(arguments.seeds)
        for arm in arguments.arms
        if not kept_in(arguments.out, arm, seed).is_file()
    ]
    for _ in track(in_processes(run, jobs, arguments.workers), "runs", len(jobs)):
        pass
    found = {arm: [scores_of(arguments.out, arm, seed) for seed in range(arguments.seeds)] for arm in arguments.arms}
    share = agents_share(root, arguments.out)
    report(found, share, arguments.json)


def make_features(kitchens: Path, models: Path, out: Path, ends: set[str]) -> DataRoot:
    """A data root of its own under `out`: the kitchens' lists, one more with the test list's labels, and features."""
    root = out / "root"
    tables = root / "annotations"
    tables.mkdir(parents=True, exist_ok=True)
    for table in (kitchens / "annotations").glob("*.csv"):
        write_text(tables / table.name, table.read_text())
    test = pd.read_csv(tables / "EPIC_100_test_timestamps.csv")
    answers = pd.read_csv(kitchens / "answers" / "test_labels.csv")[["narration_id", "verb_class", "noun_class"]]
    write_text(tables / LABELLED, test.merge(answers, on="narration_id", validate="1:1").to_csv(index=False))
    for model in range(MODELS):
        trained = models / f"source_only_{model}"
        if models == out / "models":
            words = ("train", str(TINY / "source_only.yaml"), f"seed={model}", "--out", str(trained))
            epicsub(*words, "--data", str(kitchens))
        for end, views in VIEWS.items():
            if end not in ends:
                continue
            words = ("data", "features", str(trained), "-o", str(root / "features" / f"source_only_{model}{end}"))
            lists = [word for name in LISTS for word in ("--list", name)]
            epicsub(*words, *lists, "--tta", views, "--data", str(kitchens))
    return DataRoot(root)


def epicsub(*words: str) -> None:
    """Run one command; stop with it if it fails."""
    print("$ epicsub", *words, flush=True)
    subprocess.run([sys.executable, "-m", "epicsub", *words], check=True)


def scored_lists(root: DataRoot, outliers: Path) -> dict[str, pd.DataFrame]:
    """The three lists that are scored, by name."""
    target = pd.read_csv(root.annotations("EPIC_100_validation.csv"))
    outside = set(pd.read_csv(outliers)["narration_id"])
    return {
        "held-out source": pd.read_csv(root.annotations("source_heldout.csv")),
        "target": target,
        "target, known": target[~target.narration_id.isin(outside)],
    }


def settings_of(arm: Arm, seed: int, *more: str) -> list[str]:
    """Overrides of an arm's recipe."""
    features = f"data.features=features/source_only_{seed % MODELS}{arm.views}"
    return [*arm.changes, features, f"seed={seed}", "train.log_every=1000", "train.checkpoint_every=100000", *more]


class Job(NamedTuple):
    """One run to make."""

    arm: str
    seed: int
    root: DataRoot
    out: Path
    lists: dict[str, pd.DataFrame]


def run(job: Job) -> None:
    """Make one run and keep its scores in percent, or that it diverged."""
    torch.set_num_threads(1)
    began = time.monotonic()
    with TemporaryDirectory(dir=job.out) as folder:
        outliers = str(job.root.path / OUTLIERS)
        changes = [text.replace("OUTLIERS", outliers) for text in settings_of(ARMS[job.arm], job.seed)]
        loaded = load_recipe(TINY / ARMS[job.arm].recipe, changes)
        try:
            domains = prepare(loaded, job.root, Path(folder))
            path = fit(loaded.recipe, domains, Path(folder), None, None)
            trained = Target(path.stem, path, load_checkpoint(path)).load(torch.device("cpu"))
            figures: dict[str, Any] = scores(trained.model, trained.recipe, job.root, job.lists)
            figures["agents"] = quality_of_run(trained, job.root, set(pd.read_csv(outliers)["narration_id"]), job.seed)
        except TrainingError as error:
            if "stopped before the update" not in str(error):
                raise
            figures = {"diverged": str(error)}
    write_text(kept_in(job.out, job.arm, job.seed), json.dumps(figures | {"seconds": time.monotonic() - began}) + "\n")


def kept_in(out: Path, arm: str, seed: int) -> Path:
    """Where a run's scores are."""
    return out / "runs" / arm.replace(" ", "_") / f"{seed}.json"


def scores_of(out: Path, arm: str, seed: int) -> dict[str, Any] | None:
    """Scores of a finished run; None of one that diverged."""
    figures = json.loads(kept_in(out, arm, seed).read_text())
    return None if "diverged" in figures else figures


def scores(model: torch.nn.Module, recipe: Recipe, root: DataRoot, lists: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Top-1 of verb, noun and both on every list, in percent."""
    found: dict[str, float] = {}
    for name, labels in lists.items():
        file = "source_heldout.csv" if name == "held-out source" else "EPIC_100_validation.csv"
        loader = view_loader(recipe, root, read_segments(root.annotations(file)), Views())
        chosen = predict(model, loader, len(loader), torch.device("cpu"), name).select(list(labels.narration_id))
        verb = chosen.verb_logprobs.argmax(1) == labels.verb_class.to_numpy()
        noun = chosen.noun_logprobs.argmax(1) == labels.noun_class.to_numpy()
        for task, right in zip(TASKS, (verb, noun, verb & noun), strict=True):
            found[f"{name} {task}"] = 100 * float(right.mean())
    return found


def agents_share(root: DataRoot, out: Path) -> dict[str, float]:
    """Milliseconds of an adapting step with and without agents, and the agents' share of it, in percent."""
    seconds: dict[str, list[float]] = {"adversarial only": [], "MMIR": []}
    for _ in range(2):
        for name, measured in seconds.items():
            measured.append((timed_fit(name, 200, root, out) - timed_fit(name, 50, root, out)) / 150)
    plain, whole = (1000 * min(measured) for measured in seconds.values())
    return {"adversarial_step_ms": plain, "mmir_step_ms": whole, "agents_share": 100 * (whole - plain) / whole}


def timed_fit(name: str, steps: int, root: DataRoot, out: Path) -> float:
    """Seconds of a run of one arm with so many adapting steps."""
    lengths = ("train.stages.0.steps=1", f"train.stages.1.steps={steps}")
    loaded = load_recipe(TINY / ARMS[name].recipe, settings_of(ARMS[name], 0, *lengths))
    with TemporaryDirectory(dir=out) as folder:
        domains = prepare(loaded, root, Path(folder))
        began = time.monotonic()
        fit(loaded.recipe, domains, Path(folder), None, None)
        return time.monotonic() - began


def report(found: dict[str, list[dict[str, float] | None]], share: dict[str, float], path: Path | None) -> None:
    """Print the mean and standard deviation of every arm, then the paired differences to the reference."""
    columns = [f"{name} {task}" for name in ("held-out source", "target", "target, known") for task in TASKS]
    seeds = max(map(len, found.values()))
    print(f"\nTop-1 in percent, mean and standard deviation over {seeds} seeds\n")
    print("| | " + " | ".join(columns) + " | diverged | s a run |\n|---" + "|---" * (len(columns) + 2) + "|")
    figures: dict[str, float] = dict(share)
    for arm, runs in found.items():
        whole = [one for one in runs if one]
        cells = [spread([one[name] for one in whole]) for name in columns]
        seconds = np.median([one["seconds"] for one in whole]) if whole else float("nan")
        print(f"| {arm} | " + " | ".join(cells) + f" | {len(runs) - len(whole)} | {seconds:.1f} |")
        figures |= {f"{arm}: {name}": float(np.mean([one[name] for one in whole])) for name in columns if whole}
        figures[f"{arm}: seconds"] = float(seconds)
    print(f"\n{MEASURE}: differences to {REFERENCE}, paired by seed, with 95 % confidence intervals (t, uncorrected)\n")
    print("| | difference | 95 % | pairs |\n|---|---|---|---|")
    for arm, runs in found.items():
        if arm == REFERENCE or REFERENCE not in found:
            continue
        pairs = [(a[MEASURE], b[MEASURE]) for a, b in zip(runs, found[REFERENCE], strict=True) if a and b]
        difference, half = paired(pairs)
        print(f"| {arm} | {difference:+.2f} | {difference - half:+.2f} to {difference + half:+.2f} | {len(pairs)} |")
        figures |= {f"{arm}: difference": difference, f"{arm}: half of the interval": half}
        if arm in GAINS:
            figures[f"{GAINS[arm]}_gain"] = difference
    qualities = {arm: [run["agents"] for run in runs if run and run.get("agents")] for arm, runs in found.items()}
    figures |= report_agents({arm: seen for arm, seen in qualities.items() if seen})
    plain, with_agents = share["adversarial_step_ms"], share["mmir_step_ms"]
    print(
        f"\nA step: {plain:.1f} ms without agents, {with_agents:.1f} ms with: {share['agents_share']:.0f} % is theirs"
    )
    write_figures(path, figures, runs=found, measure=MEASURE)


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=min(1, len(values) - 1)):.1f}" if values else "-"


if __name__ == "__main__":
    main()
