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
TASKS = ("action", "verb", "noun")
ARMS = {
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
    "oracle": "oracle: knows the planted outliers",
    "mmir": "**MMIR**, as the paper has it",
    "mmir_task": "MMIR, paid by the task (ours)",
    "mmir_plus": "MMIR plus (ours)",
    "relations_source_only": "relations, source only",
    "ta3n": "TA3N",
    "supervised": "supervised on target labels (bound)",
}
WAYS = {"": "", "_own": ", at its paper's setting"}
SHOWN = ("source_only", "mmd", "mcd", "adversarial", "mm_sada", "mmir", "mmir_plus", "oracle")
STUDIES = {
    "handwash": "hands at two sinks (95 % over two videos)",
    "features": "features of small kitchens (95 % over models)",
}
IN_SIMULATION = {
    "source_only": "source only",
    "adversarial": "adversarial only",
    "random": "random removal",
    "min_delta": "lowest relevance, no agents",
    "oracle": "oracle: knows the planted outliers",
    "mmir": "**MMIR**, as the paper has it",
    "mmir_task": "MMIR, paid by the task (ours)",
    "mmir_plus": "MMIR plus (ours)",
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


def gain(figures: dict[str, float], name: str) -> str:
    """Points over batch norm only, or why there are none."""
    if f"{name}_gain" not in figures:
        return f"not exercised (power {figures[f'{name}_power']:.2f})"
    return interval(*(figures[f"{name}_gain{end}"] for end in ("", "_low", "_high")), 1)


def compared(name: str, videos: tuple[str, ...] = ()) -> str:
    """Every arm of a benchmark at its chosen setting, and at its paper's where that is another one."""
    file = RESULTS / f"{name}.json"
    if not file.is_file():
        return f"Not measured since the faults were mended: `python benchmarks/{name}.py` does."
    content = result(name)
    figures, settings, rows = content["figures"], content.get("settings", {}), []
    for arm, title in ((arm, title) for arm, title in ARMS.items() if not videos or arm != "supervised"):
        ways = _settings_of(settings, arm)
        keys = [(arm, title, ways["chosen"])]
        if ways["own"] != ways["chosen"]:
            keys.append((f"{arm}_own", f"{title}, at its paper's setting", ways["own"]))
        for key, label, setting in keys:
            if f"{key}_action" in figures:
                scores = [f"{figures[f'{key}_{task}']:.1f}" for task in TASKS]
                scores += [f"{figures[f'{key}_action_{video}']:.1f}" for video in videos]
                rows.append([label, setting, *scores, "" if key == "bn_only" else gain(figures, key)])
    if videos:
        scores = [f"{figures[f'supervised_{task}']:.1f}" for task in TASKS if "supervised_action" in figures]
        halves = [f"{figures[f'supervised_action_{video}']:.1f}" for video in videos if scores]
        rows += [["supervised by the other target video (bound)", "", *scores, *halves, ""]] if scores else []
    head = ["percent", "setting", *TASKS, *(f"action, video {video}" for video in videos)]
    return markdown([*head, "points of action over batch norm only"], rows)


def _settings_of(settings: dict, arm: str) -> dict[str, str]:
    """Class weight / strength / rate of an arm by way; of several target videos each video's."""
    if "own" in settings:  # by way, arm and video
        found = {way: ", ".join(dict.fromkeys(of.get(arm, {}).values())) for way, of in settings.items()}
    else:
        found = dict(settings.get(arm, {}))
    return {"own": "", "chosen": found.get("own", "")} | found


def features() -> str:
    """Every arm on features."""
    return compared("features")


def kitchens() -> str:
    """Every arm on video of small kitchens."""
    return compared("kitchens")


def handwash() -> str:
    """Every arm on frozen features of the hand-washing clips, by target video, and what exceeds the interval."""
    figures = result("handwash")["figures"]
    names = {f"{arm}{way}": title + told for arm, title in ARMS.items() for way, told in WAYS.items()}
    apart = [
        f"{title} {gain(figures, name)}"
        for name, title in names.items()
        if f"{name}_gain" in figures and figures[f"{name}_gain_low"] * figures[f"{name}_gain_high"] > 0
    ]
    power = ", ".join(
        f"{names[name.removesuffix('_power')]} {value:.2f}"
        for name, value in figures.items()
        if name.endswith("_power") and name.removesuffix("_power") in names
    )
    told = (
        f"Beyond the interval of two videos: {'; '.join(apart)}." if apart else
        "No difference to batch norm only exceeds the interval of two videos."
    )  # fmt: skip
    return (
        f"{compared('handwash', ('009', '010'))}\n\n{figures['seeds']:.0f} seeds, two target videos, 146 segments. "
        f"Power of the agents (a perfect reward, the same budget): {power}. {told}"
    )


def handwash_video() -> str:
    """The arms that were finished end to end on the hand-washing clips."""
    return compared("handwash_video", ("009", "010"))


def simulation() -> str:
    """Accuracy of every arm in the simulation."""
    figures = result("simulation")["figures"]
    rows = []
    for key in (name.removesuffix("_accuracy") for name in figures if name.endswith("_accuracy")):
        if key in IN_SIMULATION:
            ends = [figures.get(f"{key}_over_adversarial{end}") for end in ("", "_low", "_high")]
            difference = "" if ends[0] is None else interval(*ends, 2)
            rows.append(
                [
                    IN_SIMULATION[key],
                    f"{figures[f'{key}_accuracy']:.1f}",
                    difference,
                    f"{figures[f'{key}_diverged']:.0f}",
                ]
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
    for study, arm in (("simulation", "mmir"), ("features", "mmir_own"), ("features", "mmir")):
        figures = result(study)["figures"] if (RESULTS / f"{study}.json").is_file() else {}
        for agent in AGENTS:
            values = [figures.get(f"{arm}_{agent}_{name}") for name in names]
            if None not in values:
                rows.append([f"{study}, {agent.replace('_', ' ')}", *(f"{value:.3f}" for value in values)])
    return markdown(["agent", *names.values()], rows)


def measured() -> str:
    """Accuracy and speed in one row each, with the benchmark that prints it."""
    adapted = [
        (f"points of action over batch norm only, {study}, at settings of one grid",
         "; ".join(f"{ARMS[arm].replace('**', '')}: {gain(result(name)['figures'], arm)}" for arm in SHOWN
                   if f"{arm}_action" in result(name)["figures"]), name)
        for name, study in STUDIES.items() if (RESULTS / f"{name}.json").is_file()
    ]  # fmt: skip
    loading, stored, models, scoring, full = (
        result(name)["figures"] for name in ("loading", "store_size", "models", "scoring", "full_count")
    )
    flow, step = result("flow_speed")["figures"], result("step_overhead")["figures"]
    rows = [
        *adapted,
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


TABLES: dict[str, Callable[[], str]] = {
    "handwash": handwash,
    "handwash_video": handwash_video,
    "kitchens": kitchens,
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
