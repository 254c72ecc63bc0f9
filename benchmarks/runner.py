"""What the benchmarks on features and on video share: starts, tuning, runs, and what is kept of them.

Every run goes through the functions of `epicsub train` and is kept in the benchmark's folder as it ends: a stopped
benchmark resumes. One that diverges is kept as such and counted, with the score of its last finite step.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd
import torch
from agent_quality import quality_of_run, report_agents
from arms import ARMS, CONTROL, Arm, Values, grid, settings, told_apart
from gains import Runs, finished, mean_score, report
from machine import benchmark_parser, write_figures
from power import mean_power, perfect_rewards, power_of_run

from epicsub.data.annotations import read_segments
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.errors import NotFiniteError
from epicsub.inference.predict import predict
from epicsub.inference.targets import Target, Trained
from epicsub.io import write_text
from epicsub.progress import cores, in_processes, track
from epicsub.recipe import load_recipe
from epicsub.training.checkpoint import load_checkpoint
from epicsub.training.loaders import view_loader
from epicsub.training.loop import fit
from epicsub.training.preflight import prepare

TINY = Path("recipes/tiny")
LABELLED = "target_labelled.csv"  # the test list with its answers, which the supervised bound learns
LISTS = ("EPIC_100_train.csv", "EPIC_100_validation.csv", "EPIC_100_test_timestamps.csv", "source_heldout.csv")
TUNING = (100, 101)  # models whose scores choose the settings
POWER = "power"  # what runs with a perfect reward are kept under, beside the arms


@dataclass(frozen=True)
class Benchmark:
    """What differs between the benchmarks."""

    name: str
    sizes: Mapping[str, int]
    """Segments of each model's kitchens, by list."""
    recipes: tuple[str, str]
    """Of recipes/tiny: without and with a target batch in the second stage."""
    common: tuple[str, ...]
    """Overrides of every run."""
    source_batch: int
    """Of the second stage."""
    rate: float
    """Of the recipes' second stage."""
    rates: tuple[float, ...]
    """Of the grid."""
    models: int
    """That are reported, from 0."""
    repeats: int
    """Runs of an arm per model."""
    steps: int | None = None
    """Of the second stage; None for the recipes' own."""
    relations: str = ""
    """Settings of the network of temporal relations; empty where there is none, nor its arms."""


class Job(NamedTuple):
    """One run to make."""

    arm: str
    values: Values
    model: int
    repeat: int
    out: Path


def arguments_of(benchmark: Benchmark, description: str | None) -> argparse.Namespace:
    """Options of a benchmark."""
    parser = benchmark_parser(description)
    parser.add_argument("--out", type=Path, default=Path("outputs") / benchmark.name)
    parser.add_argument("--models", type=int, default=benchmark.models, help="that are reported, 0 to MODELS - 1")
    parser.add_argument("--repeats", type=int, default=benchmark.repeats, help="runs of an arm per model")
    parser.add_argument("--rates", type=float, nargs="+", default=list(benchmark.rates), help="of the grid")
    parser.add_argument("--workers", type=int, default=cores(), help="runs at a time, one thread each")
    arms = [name for name, arm in ARMS.items() if benchmark.relations or arm.attention is None]
    parser.add_argument("--arms", nargs="+", default=arms, choices=arms, metavar="ARM")
    return parser.parse_args()


def measure(benchmark: Benchmark, given: argparse.Namespace, make_model: Callable[[int, Path], None]) -> None:
    """Make kitchens and models, tune every arm, train and score, print the table.

    Args:
        benchmark: which one.
        given: its options.
        make_model: makes the kitchens of a model, and what its runs read; what is there is not repeated.
    """
    torch.set_num_threads(1)
    out, arms = given.out, {CONTROL: ARMS[CONTROL]} | {name: ARMS[name] for name in given.arms}
    reported = range(given.models)
    for model in (*TUNING, *reported):
        make_model(model, out)
    starts = [(model, 0, out) for model in TUNING]
    starts += [(model, repeat, out) for repeat in range(given.repeats) for model in reported]
    missing = [start for start in starts if not start_of(*start).is_file()]
    _all(partial(make_start, benchmark), missing, given.workers, "starts")
    tried = {name: settings_of(arm, given.rates, benchmark.rate) for name, arm in arms.items()}
    tuning = [Job(name, v, m, 0, out) for m in TUNING for name, of in tried.items() if len(of) > 1 for v in of]
    make(benchmark, tuning, given.workers)
    chosen, scored = choose(tried, out)
    ways = {name: {"chosen": chosen[name], "own": own_of(arm, benchmark.rate)} for name, arm in arms.items()}
    jobs = [
        Job(name, values, model, repeat, out)
        for repeat in range(given.repeats)
        for model in reported
        for name, both in ways.items()
        for values in dict.fromkeys(both.values())
    ]
    powered = [job._replace(arm=f"{job.arm}_{POWER}") for job in jobs if arms[job.arm].agents and not job.repeat]
    make(benchmark, [*powered, *jobs], given.workers)
    runs = {
        name: {way: runs_of(name, v, reported, given.repeats, out) for way, v in both.items()}
        for name, both in ways.items()
    }
    powers = {
        name: {way: mean_power(runs_of(f"{name}_{POWER}", v, reported, 1, out)) for way, v in both.items()}
        for name, both in ways.items()
        if arms[name].agents
    }
    figures = report(chosen, runs, powers)
    qualities = {name: agents_of(of["own"]) for name, of in runs.items() if arms[name].agents}
    figures |= report_agents({name: seen for name, seen in qualities.items() if seen})
    told = {name: {way: str(v) for way, v in both.items()} for name, both in ways.items()}
    more = {"settings": told, "tuning": scored, "runs": kept(runs), "models": len(reported), "repeats": given.repeats}
    write_figures(given.json, figures, **more)


def make_kitchens(benchmark: Benchmark, model: int, out: Path) -> Path:
    """Kitchens of a model's seed with their flow, and the test list with its answers as another list."""
    kitchens = kitchens_of(model, out)
    if not (kitchens / "annotations" / LABELLED).is_file():
        sizes = [word for name, size in benchmark.sizes.items() for word in (f"--{name}", str(size))]
        epicsub("data", "synth", str(kitchens), "--seed", str(model), *sizes)
        epicsub("data", "flow", "--bound", "4", "--data", str(kitchens))
        test = pd.read_csv(kitchens / "annotations" / LISTS[2])
        answers = pd.read_csv(kitchens / "answers" / "test_labels.csv")[["narration_id", "verb_class", "noun_class"]]
        labelled = test.merge(answers, on="narration_id", validate="1:1")
        write_text(kitchens / "annotations" / LABELLED, labelled.to_csv(index=False))
    return kitchens


def kitchens_of(model: int, out: Path) -> Path:
    """Data root of a model."""
    return out / "kitchens" / str(model)


def epicsub(*words: str) -> None:
    """Run one command; stop with it if it fails."""
    print("$ epicsub", *words, flush=True)
    subprocess.run([sys.executable, "-m", "epicsub", *words], check=True)


def _all(work: Callable[[Any], None], jobs: Sequence[Any], workers: int, label: str) -> None:
    for _ in track(in_processes(work, jobs, workers), label, len(jobs)):
        pass


def make(benchmark: Benchmark, jobs: Sequence[Job], workers: int) -> None:
    """Make the runs that are missing."""
    apart = {kept_in(job): job for job in jobs}
    _all(partial(run, benchmark), [job for path, job in apart.items() if not path.is_file()], workers, "runs")


def settings_of(arm: Arm, rates: Sequence[float], rate: float) -> list[Values]:
    """The settings of the grid that are different for an arm; its own alone for the bound."""
    return [own_of(arm, rate)] if arm.labelled else list(dict.fromkeys(told_apart(arm, v) for v in grid(rates)))


def own_of(arm: Arm, rate: float) -> Values:
    """The setting of an arm's paper or code, at the recipe's learning rate."""
    return told_apart(arm, Values(*arm.own, rate))


def choose(tried: dict[str, list[Values]], out: Path) -> tuple[dict[str, Values], dict[str, dict[str, float]]]:
    """The setting of each arm with the highest mean action score of the tuning models, and all of these scores."""
    scored = {
        name: {v: mean_score(runs_of(name, v, TUNING, 1, out), "action") for v in of if len(of) > 1}
        for name, of in tried.items()
    }
    best = {name: max(of, key=lambda v, name=name: scored[name].get(v, 0.0)) for name, of in tried.items()}
    return best, {name: {str(v): score for v, score in of.items()} for name, of in scored.items()}


def start_of(model: int, repeat: int, out: Path) -> Path:
    """The shared end of the first stage."""
    return out / "starts" / f"{model}_{repeat}.pth"


def make_start(benchmark: Benchmark, start: tuple[int, int, Path]) -> None:
    """Train the first stage of a model's runs of one repeat."""
    torch.set_num_threads(1)
    model, repeat, out = start
    with TemporaryDirectory(dir=out) as folder:
        words = [*common(benchmark, model, repeat), "train.stages.1.steps=1"]
        loaded = load_recipe(TINY / benchmark.recipes[0], words)
        fit(loaded.recipe, prepare(loaded, DataRoot(kitchens_of(model, out)), Path(folder)), Path(folder), None, None)
        start_of(*start).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(folder) / "stage_1.pth", f"{start_of(*start)}.part")
    Path(f"{start_of(*start)}.part").rename(start_of(*start))


def common(benchmark: Benchmark, model: int, repeat: int) -> list[str]:
    """Overrides of every run of a model and repeat."""
    return [*benchmark.common, f"seed={10 * model + repeat}", "train.log_every=1000", "train.checkpoint_every=100000"]


def changes_of(benchmark: Benchmark, job: Job, outliers: str) -> list[str]:
    """What a job changes in its recipe.

    Args:
        benchmark: which one.
        job: the run.
        outliers: file of what the oracle knows.
    """
    arm = ARMS[job.arm.removesuffix(f"_{POWER}")]
    changes = [
        *common(benchmark, job.model, job.repeat),
        *settings(arm, job.values, benchmark.source_batch, outliers),
    ]
    if benchmark.steps is not None:
        changes.append(f"train.stages.1.steps={benchmark.steps}")
    if arm.labelled:
        return [*changes, f"data.source=[{LABELLED}]", "supervision.data=4"]
    if arm.attention is None:
        return [*changes, f"train.start={start_of(job.model, job.repeat, job.out).absolute()}"]
    network = f"model={{name: temporal_relations, {benchmark.relations}, attention: {str(arm.attention).lower()}}}"
    return [network, *(one for one in changes if not one.startswith("model."))]


def run(benchmark: Benchmark, job: Job) -> None:
    """Make one run and keep its scores in percent, or that it diverged."""
    torch.set_num_threads(1)
    root = DataRoot(kitchens_of(job.model, job.out))
    answers = root.path / "answers" / "outliers.csv"
    outliers = set(pd.read_csv(answers)["narration_id"])
    name = job.arm.removesuffix(f"_{POWER}")
    powers, arm = name != job.arm, ARMS[name]
    changes = changes_of(benchmark, job, str(answers.absolute()))
    recipe = TINY / benchmark.recipes[arm.reads_target]
    with TemporaryDirectory(dir=job.out) as folder, perfect_rewards(outliers) if powers else nullcontext():
        loaded = load_recipe(recipe, changes)
        figures: dict[str, Any]
        try:
            path = fit(loaded.recipe, prepare(loaded, root, Path(folder)), Path(folder), None, None)
            trained = loaded_run(path)
            if powers:
                figures = power_of_run(trained, root, outliers, job.model)
            else:
                figures = scores(trained, root, outliers)
                figures["agents"] = quality_of_run(trained, root, outliers, job.model) if arm.agents else {}
        except NotFiniteError as error:
            last = Path(folder) / "last_finite.pth"
            at_last = scores(loaded_run(last), root, outliers) if last.is_file() and not powers else None
            figures = {"diverged": str(error), "last_finite": at_last}
    write_text(kept_in(job), json.dumps(figures) + "\n")


def loaded_run(path: Path) -> Trained:
    """A checkpoint with its model."""
    return Target(path.stem, path, load_checkpoint(path)).load(torch.device("cpu"))


def kept_in(job: Job) -> Path:
    """Where a run's scores are."""
    return job.out / "runs" / job.arm / str(job.values).replace(" / ", "_") / f"{job.model}_{job.repeat}.json"


def runs_of(arm: str, values: Values, models: Sequence[int], repeats: int, out: Path) -> Runs:
    """Finished and diverged runs of an arm by model."""
    return {m: [json.loads(kept_in(Job(arm, values, m, r, out)).read_text()) for r in range(repeats)] for m in models}


def scores(trained: Trained, root: DataRoot, outliers: set[str]) -> dict[str, Any]:
    """Top-1 of action, verb and noun in percent: of the target, of its known verbs, of held-out source clips."""
    found: dict[str, Any] = {}
    for part, file in {"": LISTS[1], "known_": LISTS[1], "heldout_": LISTS[3]}.items():
        labels = pd.read_csv(root.annotations(file))
        if part == "known_":
            labels = labels[~labels.narration_id.isin(outliers)]
        else:
            loader = view_loader(trained.recipe, root, read_segments(root.annotations(file)), Views())
            predicted = predict(trained.model, loader, len(loader), torch.device("cpu"), file)
        rows = predicted.select(list(labels.narration_id))
        verb = rows.verb_logprobs.argmax(1) == labels.verb_class.to_numpy()
        noun = rows.noun_logprobs.argmax(1) == labels.noun_class.to_numpy()
        for task, right in {"action": verb & noun, "verb": verb, "noun": noun}.items():
            found[f"{part}{task}"] = 100 * float(right.mean())
    return found


def agents_of(runs: Runs) -> list[dict[str, dict[str, float]]]:
    """What was seen of the agents in every finished run."""
    return [run["agents"] for of in runs.values() for run in of if finished(run) and run["agents"]]


def kept(runs: dict[str, dict[str, Runs]]) -> dict[str, Any]:
    """What the results keep of every run: scores without the agents' figures."""
    return {
        f"{name}, {way}": {
            str(model): [{key: value for key, value in run.items() if key != "agents"} for run in of]
            for model, of in by_model.items()
        }
        for name, both in runs.items()
        for way, by_model in both.items()
    }
