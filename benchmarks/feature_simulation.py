"""Every arm on the feature simulation with planted outliers, paired by seed, and the dose curve.

    python benchmarks/feature_simulation.py --json benchmarks/results/simulation.json

Every run is one line of --runs; a study that was stopped resumes. --parts picks what is run: `arms` (the
reported setting), `dose` (shares of planted outliers from 0 to 40 %), `stationary` (the DQN alone). The report is made
of every run there is. What is simulated stands in benchmarks/simulation/generator.py, what was tried before the
reported seeds were run in benchmarks/simulation/LOG.md.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from agent_quality import report_agents
from machine import benchmark_parser, write_figures
from simulation.arms import ARMS, CONTROL
from simulation.generator import Setting
from simulation.runs import Run, make_runs, read_runs, select
from simulation.stationary import greedy_precision
from simulation.statistics import Difference, accuracies, paired

from epicsub.progress import cores

PARTS = ("arms", "dose", "stationary")
REPORTED = Setting(rho=0.2, view=4.0, lam=0.2)
DOSES = (0.0, 0.1, 0.2, 0.3, 0.4)
DOSE_ARMS = (CONTROL, "min_delta", "mmir", "mmir_plus", "oracle")
GAINS = {"oracle_gain": "oracle", "mmir_gain": "mmir", "min_delta_gain": "min_delta", "mmir_plus_gain": "mmir_plus"}
STATIONARY_SEEDS = (0, 1, 2)


def main() -> None:
    """Run what is missing, print the tables, write the figures."""
    parser = benchmark_parser(__doc__)
    parser.add_argument(
        "--parts", nargs="*", choices=["arms", "dose", "stationary"], default=["arms", "dose", "stationary"]
    )
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=20, help="paired seeds of the arms, from 0")
    parser.add_argument("--dose-seeds", type=int, default=20, help="paired seeds of the dose curve, from 0")
    parser.add_argument("--workers", type=int, default=cores(), help="runs at a time, one thread each")
    parser.add_argument("--runs", type=Path, default=Path("outputs/simulation/runs.jsonl"))
    parser.add_argument("--plot", type=Path, help="file for the dose curve, .png")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if "arms" in arguments.parts:
        make_runs(arguments.runs, [REPORTED], arguments.arms, range(arguments.seeds), arguments.workers)
    if "dose" in arguments.parts:
        doses = [dosed(rho) for rho in DOSES]
        make_runs(arguments.runs, doses, DOSE_ARMS, range(arguments.dose_seeds), arguments.workers)
    runs = [run for run in read_runs(arguments.runs) if run["arm"] in ARMS]
    figures = report_arms(select(runs, REPORTED)) | report_dose(runs, arguments.plot)
    if "stationary" in arguments.parts:
        precisions = [greedy_precision(seed) for seed in STATIONARY_SEEDS]
        print(f"\nstationary task: greedy precision {', '.join(f'{p:.3f}' for p in precisions)} (chance 0.2)")
        figures["dqn_greedy_precision_min"] = min(precisions)
    write_figures(arguments.json, figures, setting=asdict(REPORTED), runs=[compact(run) for run in runs])


def dosed(rho: float) -> Setting:
    """The reported setting with another share of planted outliers."""
    return replace(REPORTED, rho=rho)


def report_arms(arms: dict[str, dict[int, Run]]) -> dict[str, float]:
    """Print one row per arm, and what was removed; return the figures."""
    figures: dict[str, float] = {}
    print(
        "| arm | target accuracy | difference to adversarial, 95 % interval | seeds | diverged |\n|---|---|---|---|---|"
    )
    for name in (name for name in ARMS if name in arms):
        values = accuracies(arms[name])
        difference = paired(arms[name], arms.get(CONTROL, {}))
        gain = f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]" if name != CONTROL else ""
        lost = sum(run["accuracy"] is None for run in arms[name].values())
        print(f"| {name} | {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} | {gain} | {len(values)} | {lost} |")
        figures |= {f"{name}_accuracy": float(np.mean(values)), f"{name}_diverged": float(lost)}
        if last := [run["last_finite"] for run in arms[name].values() if run.get("last_finite") is not None]:
            figures[f"{name}_diverged_last_finite_accuracy"] = float(np.mean(last))
            print(f"| {name}, diverged seeds at their last finite step | {np.mean(last):.2f} | | {len(last)} | |")
        figures |= {f"{name}_over_adversarial{end}": value for end, value in _ends(difference) if name != CONTROL}
    figures |= {figure: paired(arms[arm], arms[CONTROL]).mean for figure, arm in GAINS.items() if arm in arms}
    _report_removed(arms)
    finished = {
        name: [run for run in arms[name].values() if run["accuracy"] is not None] for name in ARMS if name in arms
    }
    qualities = {name: [run["agents"] for run in runs if run["agents"]] for name, runs in finished.items()}
    return figures | report_agents(qualities)


def _ends(difference: Difference) -> list[tuple[str, float]]:
    return [("", difference.mean), ("_low", difference.low), ("_high", difference.high)]


def _report_removed(arms: dict[str, dict[int, Run]]) -> None:
    print("\nShare of planted instances among those removed in the second half of stage 2 (exploration included)\n")
    for name, runs in arms.items():
        removed = [run["removed"] for run in runs.values() if run["removed"]]
        if removed:
            shares = {key: np.mean([one[key] for one in removed]) for key in removed[0]}
            print(f"{name}: " + ", ".join(f"{key} {share:.3f}" for key, share in shares.items()))


def report_dose(runs: list[Run], plot: Path | None) -> dict[str, float]:
    """Print the gains at each share of planted outliers; draw them if asked for."""
    table = {rho: select(runs, dosed(rho)) for rho in DOSES}
    figures: dict[str, float] = {}
    curves: dict[str, list[Difference]] = {}
    print("\n| planted | " + " | ".join(DOSE_ARMS[1:]) + " |\n|---|" + "---|" * len(DOSE_ARMS[1:]))
    for rho, arms in table.items():
        if not arms:
            continue
        cells = []
        for name in DOSE_ARMS[1:]:
            difference = paired(arms.get(name, {}), arms.get(CONTROL, {}))
            curves.setdefault(name, []).append(difference)
            cells.append(f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}] n={difference.seeds}")
            if difference.seeds >= 2:  # one seed has no interval and is no figure
                point = f"dose_{round(100 * rho)}_{name}"
                figures |= {f"{point}{end}": value for end, value in _ends(difference)}
                figures[f"{point}_seeds"] = float(difference.seeds)
        print(f"| {rho:.0%} | " + " | ".join(cells) + " |")
    if plot:
        draw(curves, plot)
    return figures


def draw(curves: dict[str, list[Difference]], path: Path) -> None:
    """The dose curve with its intervals."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for place, (name, curve) in enumerate(curves.items()):
        x = 100 * np.array(DOSES) + 0.5 * (place - 1.5)
        means = np.array([difference.mean for difference in curve])
        half = np.array([difference.high - difference.mean for difference in curve])
        axes.errorbar(x, means, half, marker="o", markersize=4, capsize=3, label=name.replace("_", " "))
    axes.axhline(0.0, color="grey", linewidth=0.8)
    axes.set_xlabel("planted outliers, percent of each domain's training instances")
    axes.set_ylabel("points over adversarial only")
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def compact(run: Run) -> Run:
    """What the results keep of a run."""
    kept = {key: run[key] for key in ("arm", "seed", "accuracy", "diverged_at")}
    kept |= {key: run[key] for key in ("last_finite",) if run.get(key) is not None}
    return {"rho": run["setting"]["rho"]} | kept


if __name__ == "__main__":
    main()
