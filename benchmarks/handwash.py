"""Every adaptation method on real video with a real shift: hands at a steel sink, labelled, to hands at a white basin.

    python benchmarks/handwash.py --videos ../shared/data/handwash --json benchmarks/results/handwash.json

--videos is the folder of the clips (handwash_data.py says which set that is and how it is laid out). Features of two
published networks, Kinetics-400 I3D and ImageNet EfficientNet-Lite0 (`epicsub weights fetch i3d_rgb_kinetics400
lite0_imagenet`), are made once, of three views per segment; the heads on them are what an arm trains, with the steel
sink's videos 001 to 007 labelled and the white basin's 009 and 010 unlabelled. 008 is held out of the steel sink.

A score is the mean of those of the two target videos, and intervals of gains are over these two videos (t, one degree
of freedom), not over windows or seeds: they are wide, and a difference that is smaller than them is told as such. The
settings that an arm is scored with on one target video are chosen on the other one, by the labels of which it learns
nothing, with seeds that are not reported. `power` is what agents learn from a perfect reward within the same budget.

Every run is kept in --out as it ends: a stopped benchmark resumes, features too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arms import CONTROL, Values, grid, told_apart
from gains import EXERCISED, Runs, figures_of, finished, gain_over, mean_score, row
from handwash_arms import ARMS, POWER, SUPERVISED, Job, kept, make_start, own_of, run, start_of
from handwash_data import HALVES, HELD_OUT, freeze, make_root
from machine import benchmark_parser, write_figures
from pairs import interval

from epicsub.data.root import DataRoot
from epicsub.progress import cores, in_processes, track

TUNING = (100, 101)  # seeds that choose the settings
TARGETS = tuple(HALVES)  # videos that are scored


def main() -> None:
    """Make root and features, train and score every arm, print the table."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--videos", type=Path, default=Path("../shared/data/handwash"))
    parser.add_argument("--out", type=Path, default=Path("outputs/handwash"))
    parser.add_argument("--seeds", type=int, default=10, help="0 to SEEDS - 1")
    parser.add_argument("--rates", type=float, nargs="*", default=[1e-3], help="of the grid; none: own settings")
    parser.add_argument("--workers", type=int, default=cores(), help="runs at a time, one thread each")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out, workers = arguments.out, arguments.workers
    root = make_root(arguments.videos, out / "root")
    freeze(root)
    study = Study(root, out, range(arguments.seeds), [CONTROL, *(one for one in arguments.arms if one != CONTROL)])
    study.make_starts(workers)
    study.make(study.jobs("own"), workers)
    study.make(study.bounds(), workers)
    study.make(study.powers("own"), workers)
    if arguments.rates:
        study.tune(arguments.rates, workers)
        study.make([*study.jobs("chosen"), *study.powers("chosen")], workers)
    write_figures(arguments.json, report(study), settings=study.settings(), tuning=study.tuning, runs=study.kept())


class Study:
    """Runs of all arms at their own settings and, once the grid was run, at those that the other video chose."""

    def __init__(self, root: DataRoot, out: Path, seeds: Sequence[int], arms: Sequence[str]) -> None:
        self.root, self.out, self.seeds, self.arms = root, out, seeds, arms
        self.settings = {"own": {arm: dict.fromkeys(TARGETS, own_of(arm)) for arm in arms}}
        self.tuning: dict[str, dict[str, dict[str, float]]] = {}

    def job(self, arm: str, values: Values, seed: int) -> Job:
        """A run of this study."""
        return Job(arm, values, seed, self.root, self.out)

    def jobs(self, way: str) -> list[Job]:
        """Runs that are reported, seed by seed."""
        settings = {arm: dict.fromkeys(of.values()) for arm, of in self.settings[way].items()}
        return [self.job(arm, values, seed) for seed in self.seeds for arm, of in settings.items() for values in of]

    def powers(self, way: str) -> list[Job]:
        """MMIR with a perfect reward, of three seeds: what pays otherwise makes no difference to it."""
        values = {v: 0 for arm, of in self.settings[way].items() if ARMS[arm].agents for v in of.values()}
        return [self.job(f"mmir_{POWER}", v, seed) for seed in self.seeds[:3] for v in values]

    def bounds(self) -> list[Job]:
        """Supervised by the other target video."""
        return [self.job(arm, own_of(arm), seed) for seed in self.seeds for arm in SUPERVISED]

    def make_starts(self, workers: int) -> None:
        """The first stage of every seed."""
        jobs = [self.job(CONTROL, own_of(CONTROL), seed) for seed in (*self.seeds, *TUNING)]
        self.make([job for job in jobs if not start_of(job).is_file()], workers, make_start)

    def make(self, jobs: Sequence[Job], workers: int, work: Any = run) -> None:
        """Make the runs that are missing."""
        missing = [job for job in dict.fromkeys(jobs) if work is make_start or not job.kept_in.is_file()]
        for _ in track(in_processes(work, missing, workers), "runs", len(missing)):
            pass

    def tune(self, rates: Sequence[float], workers: int) -> None:
        """Run the grid, and give each target video the settings that score best on the other one."""
        tried = {arm: list(dict.fromkeys(told_apart(ARMS[arm], v) for v in grid(rates))) for arm in self.arms}
        self.make([self.job(arm, v, seed) for seed in TUNING for arm, of in tried.items() for v in of], workers)
        self.settings["chosen"] = {}
        for arm, of in tried.items():
            scores = {v: self.scores_of(arm, v, TUNING) for v in of}
            self.tuning[arm] = {str(v): {str(t): one[t] for t in TARGETS} for v, one in scores.items()}
            other = dict(zip(TARGETS, reversed(TARGETS), strict=True))
            self.settings["chosen"][arm] = {t: max(of, key=lambda v, t=t: scores[v][other[t]]) for t in TARGETS}

    def scores_of(self, arm: str, values: Values, seeds: Sequence[int]) -> dict[int, float]:
        """Mean action score on each target video."""
        runs = {target: self.runs_on(target, arm, values, seeds) for target in TARGETS}
        return {target: mean_score({target: of}, "action") for target, of in runs.items()}

    def runs_on(self, target: int, arm: str, values: Values, seeds: Sequence[int]) -> list[dict[str, Any]]:
        """Scores on one video, run by run."""
        found = []
        for one in (kept(self.job(arm, values, seed)) for seed in seeds):
            last = one.get("last_finite") or {}
            found.append(one[str(target)] if finished(one) else one | {"last_finite": last.get(str(target))})
        return found

    def runs(self, arm: str, way: str) -> Runs:
        """Runs by target video, in the place of models."""
        return {t: self.runs_on(t, arm, v, self.seeds) for t, v in self.settings[way][arm].items()}

    def power(self, arm: str, way: str) -> float:
        """Mean greedy precision with a perfect reward."""
        settings = {*self.settings[way][arm].values()}
        found = [kept(self.job(f"mmir_{POWER}", values, seed)) for values in settings for seed in self.seeds[:3]]
        return round(float(np.mean([value for one in found for value in one.values()])), 4)  # of counts in 400 sets

    def settings(self) -> dict[str, Any]:
        """Settings by arm, way and video."""
        return {
            way: {a: {str(t): str(v) for t, v in of.items()} for a, of in arms.items()}
            for way, arms in self.settings.items()
        }

    def kept(self) -> dict[str, Any]:
        """Every reported run: [action, verb, noun] by seed."""
        return {
            f"{arm}, {way}": {
                str(t): [
                    [round(one[task], 2) for task in ("action", "verb", "noun")] if finished(one) else None
                    for one in of
                ]
                for t, of in self.runs(arm, way).items()
            }
            for way in self.settings
            for arm in self.arms
        }


def report(study: Study) -> dict[str, float]:
    """Print every arm, at its own settings beside the chosen ones, and return the figures."""
    best = "chosen" if "chosen" in study.settings else "own"
    control, seeds = study.runs(CONTROL, best), len(study.seeds)
    print(
        f"\nTop-1 of the target in percent, {seeds} seeds, mean over videos {' and '.join(map(str, TARGETS))};\n"
        f"gains are points of action over {CONTROL}, with 95 % intervals over these two videos (t)."
    )
    print("Settings: class weight / strength / rate, of each video.\n")
    print(
        "| arm | settings | action | verb | noun | gain | diverged | action 009, 010 | gain 009, 010 |"
        + "\n|---" * 9
        + "|"
    )
    figures: dict[str, float] = {
        "seeds": float(seeds),
        "target_videos": float(len(TARGETS)),
        "tuned": float(best == "chosen"),
    }
    for arm in study.arms:
        for way in sorted(study.settings):
            name = arm if way == best else f"{arm}_own"
            power = study.power(arm, way) if ARMS[arm].agents else None
            if power is not None:
                figures[f"{name}_power"] = power
                if arm == "mmir":
                    figures["power" if way == best else "power_own"] = power
            runs = study.runs(arm, way)
            figures |= figures_of(name, runs, control, power) | by_video(name, runs, control, power)
            settings = ", ".join(dict.fromkeys(str(v) for v in study.settings[way][arm].values()))
            parts = [", ".join(f"{figures[f'{name}_action_{t:03d}']:.1f}" for t in TARGETS)]
            parts.append(
                ", ".join(f"{figures[f'{name}_gain_{t:03d}']:+.1f}" for t in TARGETS if f"{name}_gain" in figures)
            )
            print(f"| {ARMS[arm].title} | {settings} | {row(name, figures, power)} | {' | '.join(parts)} |")
            home = study.runs_on(HELD_OUT[0], arm, next(iter(study.settings[way][arm].values())), study.seeds)
            figures[f"{name}_home_action"] = mean_score({0: home}, "action")
    return figures | bound(study)


def by_video(name: str, runs: Runs, control: Runs, power: float | None) -> dict[str, float]:
    """Scores and gains on each video, and half the interval of a gain over seeds on these two videos alone."""
    found = {f"{name}_action_{t:03d}": mean_score({t: of}, "action") for t, of in runs.items()}
    if power is not None and power < EXERCISED:
        return found
    gains = {t: gain_over({t: of}, control, "action").mean for t, of in runs.items()}
    by_seed = [
        np.mean([a["action"] - b["action"] for a, b in pairs])
        for pairs in zip(*(zip(runs[t], control[t], strict=True) for t in runs), strict=True)
        if all(finished(one) for pair in pairs for one in pair)
    ]
    return (
        found
        | {f"{name}_gain_{t:03d}": gain for t, gain in gains.items()}
        | {f"{name}_gain_half_over_seeds": interval(np.array(by_seed))}
    )


def bound(study: Study) -> dict[str, float]:
    """Supervised by one target video and scored on the other."""
    found: Mapping[int, Any] = {
        scored: study.runs_on(scored, arm, own_of(arm), study.seeds)
        for arm, learned in SUPERVISED.items()
        for scored in TARGETS
        if scored != learned
    }
    figures = {f"supervised_{task}": mean_score(found, task) for task in ("action", "verb", "noun")}
    return figures | {f"supervised_action_{t:03d}": mean_score({t: of}, "action") for t, of in found.items()}


if __name__ == "__main__":
    main()
