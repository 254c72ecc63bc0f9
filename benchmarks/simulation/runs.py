"""Runs of the study, one JSON line each: what is finished is not repeated."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch

from epicsub.progress import in_processes, track
from simulation.arms import ARMS
from simulation.generator import Setting, simulate
from simulation.training import train

Run = dict
"""{"setting": {...}, "arm": name, "seed": int, ...Outcome}."""


def read_runs(path: Path) -> list[Run]:
    """Every finished run. A line that a kill cut short is left out."""
    runs = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            runs.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"{path}: a line is cut short; that run is made again")
    return runs


def select(runs: Iterable[Run], setting: Setting) -> dict[str, dict[int, Run]]:
    """Runs of a setting by arm and seed."""
    found: dict[str, dict[int, Run]] = {}
    for run in runs:
        if run["setting"] == asdict(setting):
            found.setdefault(run["arm"], {})[run["seed"]] = run
    return found


def make_runs(path: Path, settings: Iterable[Setting], arms: Iterable[str], seeds: Iterable[int], workers: int) -> None:
    """Make what is missing, seed by seed, so that a study that is stopped has whole pairs, but for the last."""
    done = {(str(run["setting"]), run["arm"], run["seed"]) for run in read_runs(path)}
    jobs = [(setting, arm, seed) for seed in seeds for setting in settings for arm in arms]
    missing = [item for item in jobs if (str(asdict(item[0])), *item[1:]) not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    for run in track(in_processes(make_run, missing, workers), "runs", len(missing)):
        with path.open("a") as file:
            file.write(json.dumps(run) + "\n")


def make_run(job: tuple[Setting, str, int]) -> Run:
    """One arm on one seed. A diverged run has no accuracy and stays."""
    torch.set_num_threads(1)  # the tensors are small
    setting, arm, seed = job
    data = simulate(seed, setting)
    outcome = train(data, ARMS[arm], setting.lam, seed, data.target if arm == "supervised" else None)
    content = asdict(outcome)
    if math.isnan(outcome.accuracy):
        content["accuracy"] = None
    return {"setting": asdict(setting), "arm": arm, "seed": seed} | content
