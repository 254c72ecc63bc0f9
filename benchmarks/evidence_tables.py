"""Fills the tables of README.md and docs/evidence.md from benchmarks/results/.

    python benchmarks/evidence_tables.py            writes every table that stands between two marks
    python benchmarks/evidence_tables.py --check    compares, and exits with 1 if one is out of date

A table called NAME stands between the lines `<!-- NAME -->` and `<!-- end -->`.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

HOME = Path(__file__).resolve().parents[1]
RESULTS = HOME / "benchmarks" / "results"
PAGES = (HOME / "README.md", HOME / "docs" / "evidence.md")
CONTROL = "adversarial only"
STUDIES = {"kitchens": "video", "features": "features", "simulation": "simulation"}
TASKS = ("verb", "noun", "action")
IN_SIMULATION = {
    "source only": "source_only",
    "MMD": "mmd",
    "AdaBN": "adabn",
    "MCD": "mcd",
    "adversarial only": "adversarial",
    "MM-SADA": "mm_sada",
    "Kim-style": "contrastive",
    "TA3N": "ta3n",
    "MMIR": "mmir",
    "random removal": "random",
    "min-Delta": "min_delta",
    "oracle": "oracle",
    "MMIR, paid by the task (ours)": "mmir_task",
    "MMIR plus (ours)": "mmir_plus",
    "supervised": "supervised",
}
TITLES = {
    "MMIR": "**MMIR**, as the paper has it",
    "min-Delta": "lowest relevance, no agents",
    "oracle": "oracle: knows the planted outliers",
    "supervised": "supervised on target labels (bound)",
}
REWARDS = {
    "mmir": "the paper's reward",
    "mmir_quantile": "quantile as threshold",
    "mmir_continuous": "reward by distance from the threshold",
    "mmir_averaged": "averaged discriminator as judge",
    "mmir_unreversed": "discriminator without reversal as judge",
    "mmir_flushed": "replay flushed at every copy",
    "mmir_weaker": "a quarter of the reversal",
    "mmir_entropy": "entropy, quantile",
    "mmir_task": "entropy and class distance, quantile, by distance",
}
AGENTS = ("rgb_source", "rgb_target", "flow_source", "flow_target")


def main() -> None:
    """Write or compare the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    for page in PAGES:
        found = page.read_text(encoding="utf-8")
        made = filled(found)
        if not arguments.check:
            page.write_text(made, encoding="utf-8")
            print(f"wrote {page}")
        elif made != found:
            sys.exit(f"{page} is out of date: run python benchmarks/evidence_tables.py")


def filled(page: str) -> str:
    """The text of a page with every table from the results."""

    def table(mark: re.Match) -> str:
        return f"<!-- {mark[1]} -->\n\n{TABLES[mark[1]]()}\n\n<!-- end -->"

    return re.sub(rf"<!-- ({'|'.join(TABLES)}) -->.*?<!-- end -->", table, page, flags=re.DOTALL)


def result(name: str) -> dict:
    """The last full run of a benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def interval(mean: float, low: float, high: float, digits: int) -> str:
    """Points with the ends of their interval."""
    return f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def seeds(name: str) -> int:
    """Number of seeds of a study."""
    if name == "kitchens":
        return len(result(name)["by_seed"][CONTROL]["target action"])
    if name == "features":
        return len(result(name)["runs"][CONTROL])
    setting = result(name)["setting"]["rho"]
    return sum(run["arm"] == "adversarial" and run["rho"] == setting for run in result(name)["runs"])


def arms() -> str:
    """Every arm in every study, in points over adversarial only."""
    head = [f"{title}, {seeds(name)} seeds" for name, title in STUDIES.items()]
    control = [f"{value:.1f}" for value in _control()]
    rows = [[TITLES.get(arm, arm), *_differences(arm)] for arm in IN_SIMULATION if arm != CONTROL]
    return markdown(["points over adversarial only", *head], [*rows, ["adversarial only itself, percent", *control]])


def _control() -> list[float]:
    trained = [result(name)["figures"][f"{CONTROL}: target action"] for name in ("kitchens", "features")]
    return [*trained, result("simulation")["figures"]["adversarial_accuracy"]]


def _differences(arm: str) -> list[str]:
    """One cell per study, empty if the arm was not run."""
    cells = []
    for name in ("kitchens", "features"):
        figures = result(name)["figures"]
        mean, half = figures.get(f"{arm}: difference"), figures.get(f"{arm}: half of the interval")
        cells.append("" if mean is None else interval(mean, mean - half, mean + half, 1))
    figures, key = result("simulation")["figures"], IN_SIMULATION[arm]
    if f"{key}_over_adversarial" not in figures:
        return [*cells, ""]
    ends = (figures[f"{key}_over_adversarial{end}"] for end in ("", "_low", "_high"))
    return [*cells, interval(*ends, 1) + (" *" if figures[f"{key}_diverged"] else "")]


def video() -> str:
    """Top-1 of every arm on video."""
    content = result("kitchens")
    columns = list(content["chance"])
    rows = [["chance", *(f"{content['chance'][name]:.1f}" for name in columns)]]
    for arm, found in content["by_seed"].items():
        rows.append([arm, *(f"{np.mean(found[name]):.1f} ± {np.std(found[name], ddof=1):.1f}" for name in columns)])
    return markdown(["", *columns], rows)


def features() -> str:
    """Top-1 of every arm on features."""
    figures, every = result("features")["figures"], result("features")["runs"]
    columns = [f"{name} {task}" for name in ("held-out source", "target", "target, known") for task in TASKS]
    return markdown(["", *columns], [[arm, *(f"{figures[f'{arm}: {name}']:.1f}" for name in columns)] for arm in every])


def simulation() -> str:
    """Accuracy of every arm in the simulation."""
    figures = result("simulation")["figures"]
    names = {key: arm for arm, key in IN_SIMULATION.items()} | {
        "norm_source_only": "batch norm, source only",
        "relations_source_only": "relations, source only",
    }
    rows = []
    for key in (name.removesuffix("_accuracy") for name in figures if name.endswith("_accuracy")):
        if key in names:
            ends = [figures.get(f"{key}_over_adversarial{end}") for end in ("", "_low", "_high")]
            difference = "" if ends[0] is None else interval(*ends, 2)
            rows.append(
                [names[key], f"{figures[f'{key}_accuracy']:.1f}", difference, f"{figures[f'{key}_diverged']:.0f}"]
            )
    return markdown(["", "target accuracy", "points over adversarial only", "diverged"], rows)


def dose() -> str:
    """Gains at each share of planted outliers."""
    figures = result("simulation")["figures"]
    shown = {"min_delta": "lowest relevance", "mmir": "MMIR", "mmir_plus": "MMIR plus (ours)", "oracle": "oracle"}
    rows = []
    for rho in (0, 10, 20, 30, 40):
        points = [[figures[f"dose_{rho}_{arm}{end}"] for end in ("", "_low", "_high")] for arm in shown]
        rows.append([f"{rho} %", *(interval(*point, 2) for point in points)])
    return markdown(["planted", *shown.values()], rows)


def rewards() -> str:
    """What the agents gain and pick per reward; means over agents."""
    figures = result("simulation")["figures"]
    rows = []
    for arm, title in REWARDS.items():
        gain = interval(*(figures[f"{arm}_over_adversarial{end}"] for end in ("", "_low", "_high")), 2)
        lost = figures[f"{arm}_diverged"]
        means = [
            float(np.mean([figures[f"{arm}_{agent}_{name}"] for agent in AGENTS]))
            for name in ("greedy_precision", "planted_if_positive")
        ]
        rows.append([title, gain + (f", {lost:.0f} diverged" if lost else ""), *(f"{mean:.3f}" for mean in means)])
    head = ["points over adversarial only", "greedy precision", "P(planted, given a positive reward)"]
    return markdown(["agents' reward", *head], rows)


def agents() -> str:
    """What the agents of the paper's MMIR pick greedily and what their reward marks, where outliers are known."""
    names = {"greedy_precision": "greedy precision", "base": "planted", "positive": "reward +1"}
    names["planted_if_positive"] = "P(planted, given +1)"
    rows = []
    for study, arm in (("simulation", "mmir"), ("features", "MMIR")):
        figures = result(study)["figures"]
        for agent in AGENTS:
            values = [figures.get(f"{arm}_{agent}_{name}") for name in names]
            if None not in values:
                rows.append([f"{study}, {agent.replace('_', ' ')}", *(f"{value:.3f}" for value in values)])
    return markdown(["agent", *names.values()], rows)


def measured() -> str:
    """Accuracy and speed in one row each, with the benchmark that prints it."""
    points = [" / ".join(_differences(arm)).replace(" *", "") for arm in ("source only", "MMIR")]
    loading, stored, models, scoring, full = (
        result(name)["figures"] for name in ("loading", "store_size", "models", "scoring", "full_count")
    )
    flow, step = result("flow_speed")["figures"], result("step_overhead")["figures"]
    rows = [
        ("source only, points of target action over adversarial only: video / features / simulation",
         points[0], "kitchens", "features", "feature_simulation"),
        ("MMIR as the paper has it, the same", points[1], "kitchens", "features", "feature_simulation"),
        ("clips of 16 frames over 2 s at 224 pixels from a 640x360 video, one core",
         f"{loading['epicsub_original_1']:.0f} per second: {loading['original_over_best_peer']:.1f} times the best of "
         f"decord, PyTorchVideo and torchcodec, {loading['original_over_brief']:.0f} times OpenCV seeking by frame",
         "loading"),
        ("the same from the prepared store",
         f"{loading['epicsub_prepared_1']:.0f} per second: {loading['prepared_over_best_peer']:.0f} and "
         f"{loading['prepared_over_brief']:.0f} times", "loading"),
        ("the prepared store of all 89,977 segments",
         f"at most {stored['rgb_gb_at_most']:.0f} GB of RGB and {stored['flow_gb_at_most']:.0f} GB of flow",
         "store_size"),
        ("optical flow of all 100 hours, DIS, two cores", f"{flow['dis_2_hours']:.0f} hours", "flow_speed"),
        ("a training step of I3D, bf16 and channels_last_3d",
         f"{models['i3d_train_over_plain']:.1f} times the clips per second of the public fp32 port", "models"),
        ("a stage 2 step of MMIR over the adversarial one, full-width I3D, 5 + 5 clips",
         f"{step['mmir_step_overhead']:.3f} times", "step_overhead"),
        ("scoring 9,668 segments",
         f"{scoring['scoring_seconds']:.2f} s, {scoring['scoring_over_plain']:.0f} times a plain numpy implementation, "
         f"{scoring['scoring_extra_mb']:.0f} MB", "scoring"),
        ("writing 13,092 rows as test.json",
         f"{scoring['writer_seconds']:.1f} s, {scoring['writer_over_plain']:.1f} times plain json and zip, "
         f"{scoring['writer_peak_mb']:.0f} MB", "scoring"),
        ("a submission of the segments of 9,449 small test videos, three members, decoding included",
         f"{full['submit_minutes']:.1f} minutes, {full['submit_peak_gb']:.1f} GB", "full_count"),
    ]  # fmt: skip
    return markdown(
        ["what", "measured", "`benchmarks/`"],
        [[what, value, ", ".join(f"`{name}.py`" for name in names)] for what, value, *names in rows],
    )


def gpu() -> str:
    """Clips per second of every network on a GPU, forward and in a training step."""
    figures = result("models_gpu")["figures"]
    ends = [f"_{mode}_{part}_clips_per_second" for part in ("forward", "train") for mode in ("plain", "fp32", "bf16")]
    names = [key.removesuffix(ends[0]) for key in figures if key.endswith(ends[0])]
    rows = [[f"`{name}`", *(f"{figures[name + end]:.0f}" for end in ends)] for name in sorted(names)]
    titles = [f"{part}, {mode}" for part in ("forward", "training step") for mode in ("plain", "fp32", "bf16")]
    return markdown(["recipe", *titles], rows)


def codebase() -> str:
    """Size, imports, reads and starts of 0.1.0 and of today's checkout, where that was measured."""
    before = result("codebase_before")["figures"]
    after = result("codebase")["figures"] if (RESULTS / "codebase.json").is_file() else {}
    names = dict.fromkeys([*before, *after])
    rows = [
        [name.replace("_", " "), *(f"{found[name]:g}" if name in found else "" for found in (before, after))]
        for name in names
    ]
    return markdown(["figure", "0.1.0", "now"], rows)


HANDWASH = {
    "source_only": "source only",
    "bn_only": "batch norm only (target through the network, no loss)",
    "adabn": "AdaBN",
    "mmd": "MMD",
    "mcd": "MCD",
    "adversarial": "adversarial only",
    "mm_sada": "MM-SADA",
    "contrastive": "Kim-style",
    "random_removal": "random removal",
    "min_delta": "lowest relevance, no agents",
    "mmir": "**MMIR**, as the paper has it",
    "mmir_task": "MMIR, paid by the task (ours)",
    "mmir_plus": "MMIR plus (ours)",
    "relations_source_only": "relations, source only",
    "ta3n": "TA3N",
}


def handwash() -> str:
    """Every arm on frozen features of the hand-washing clips, by target video, and what exceeds the interval."""
    return _handwash("handwash", "benchmarks/handwash.py", bound=True)


def handwash_video() -> str:
    """The arms that were finished end to end on the hand-washing clips."""
    return _handwash("handwash_video", "benchmarks/handwash_video.py", bound=False)


def _handwash(name: str, script: str, bound: bool) -> str:
    if not (RESULTS / f"{name}.json").is_file():
        return f"Not finished on any machine yet: `python {script}` goes on where it stopped."
    figures = result(name)["figures"]
    rows, apart = [], []
    for arm, title in HANDWASH.items():
        for key, label in ((arm, title), (f"{arm}_own", f"{title}, at its paper's setting")):
            if f"{key}_action" not in figures:
                continue
            if f"{key}_gain" not in figures:
                gain = f"not exercised (power {figures.get(f'{key}_power', figures.get('power', 0.0)):.3f})"
            elif arm == "bn_only" and key == arm:
                gain = ""
            else:
                ends = [figures[f"{key}_gain{end}"] for end in ("", "_low", "_high")]
                gain = interval(*ends, 1)
                apart += [f"{label} {gain}"] if ends[1] > 0 or ends[2] < 0 else []
            halves = [f"{figures[f'{key}_action_{video}']:.1f}" for video in ("009", "010")]
            rows.append([label, *(f"{figures[f'{key}_{task}']:.1f}" for task in TASKS), *halves, gain])
    if bound:
        halves = [f"{figures[f'supervised_action_{video}']:.1f}" for video in ("009", "010")]
        scores = [f"{figures[f'supervised_{task}']:.1f}" for task in TASKS]
        rows.append(["supervised by the other target video (bound)", *scores, *halves, ""])
    head = ["percent", *TASKS, "action, video 009", "action, video 010", "points of action over batch norm only"]
    told = (
        f"Beyond the interval of two videos: {'; '.join(apart)}." if apart else
        "No difference to batch norm only exceeds the interval of two videos."
    )  # fmt: skip
    way = "settings chosen on the other video" if figures.get("tuned") else "its paper's settings, the grid was not run"
    seeds = f"{figures['seeds']:.0f} seeds, each arm at {way}; " if "seeds" in figures else ""
    power = (
        f"Power of the agents (a perfect reward, the same budget): {figures['power']:.3f}. "
        if "power" in figures
        else ""
    )
    return f"{markdown(head, rows)}\n\n{seeds}two target videos, 146 segments. {power}{told}"


TABLES: dict[str, Callable[[], str]] = {
    "handwash": handwash,
    "handwash_video": handwash_video,
    "arms": arms,
    "video": video,
    "features": features,
    "simulation": simulation,
    "dose": dose,
    "rewards": rewards,
    "agents": agents,
    "measured": measured,
    "gpu": gpu,
    "codebase": codebase,
}


if __name__ == "__main__":
    main()
