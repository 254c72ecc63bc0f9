"""The adaptation methods on video of the default small kitchens, over five paired seeds.

    python benchmarks/kitchens.py --json benchmarks/results/kitchens.json

Every run goes through the command line. A run that is finished is not repeated, and one that was killed resumes. Each
arm is its recipe of recipes/tiny as it stands; none was tuned on these kitchens' target.
"Target" is the validation list: kitchens that training saw without labels. A share of its segments shows verbs that no
training segment has; "target, known verbs" leaves those out, which only this script may know.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from machine import benchmark_parser, write_figures
from pairs import paired

from epicsub.io import write_text
from epicsub.predictions import Predictions, read_predictions
from epicsub.progress import cores

ARMS = {
    "source only": "source_only",
    "adversarial only": "adversarial",
    "MMIR": "mmir_i3d",
    "MMIR plus (ours)": "mmir_plus",
    "MMIR, paid by the task (ours)": "mmir_task",
    "oracle": "oracle",
    "min-Delta": "min_delta",
    "random removal": "random_removal",
    "MMD": "mmd",
    "AdaBN": "adabn",
    "MM-SADA": "mm_sada",
    "MCD": "mcd",
    "Kim-style": "contrastive",
    "supervised": "supervised",
}
REFERENCE, MEASURE = "adversarial only", "target action"
TASKS = ("verb", "noun", "action")
LABELLED = "target_labelled.csv"  # the target's test list with its answers, which the supervised bound learns
PROTOCOLS = {"validation": "validation/tiny.yaml", "heldout": "validation/tiny_heldout.yaml"}


def main() -> None:
    """Train every arm and seed, score, print the table."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--kitchens", type=Path, default=Path("kitchens"))
    parser.add_argument("--out", type=Path, default=Path("outputs/kitchens"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    parser.add_argument("--workers", type=int, default=cores(), help="runs at a time, one thread each")
    arguments = parser.parse_args()
    epicsub("data", "synth", str(arguments.kitchens))
    epicsub("data", "flow", "--bound", "4", "--data", str(arguments.kitchens))
    outliers = arguments.kitchens / "answers" / "outliers.csv"
    lists = labelled_lists(arguments.kitchens / "annotations", outliers)
    write_labelled(arguments.kitchens)
    runs = {(arm, seed): arguments.out / f"{ARMS[arm]}_{seed}" for arm in arguments.arms for seed in arguments.seeds}
    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(lambda key: train(key[0], key[1], runs[key], arguments.kitchens), runs))
    scores: dict[str, dict[str, list[float]]] = {}
    for (arm, _), run in runs.items():
        for name, labels in lists.items():
            for task, value in accuracies(read_predictions(run / f"{source_of(name)}.npz"), labels).items():
                scores.setdefault(arm, {}).setdefault(f"{name} {task}", []).append(value)
    report(scores, chance(lists, arguments.kitchens / "annotations" / "EPIC_100_train.csv"), arguments.json)


def train(arm: str, seed: int, run: Path, kitchens: Path) -> None:
    """One run, and its predictions for both lists."""
    words = [f"seed={seed}", "--out", str(run), "--data", str(kitchens)]
    if arm == "oracle":
        words.append(f"adaptation.outliers={kitchens / 'answers' / 'outliers.csv'}")
    if arm == "supervised":
        words.append(f"data.source=[../answers/{LABELLED}]")
    epicsub("train", f"recipes/tiny/{ARMS[arm]}.yaml", *words)
    for name, protocol in PROTOCOLS.items():
        if not (run / f"{name}.npz").is_file():
            words = ["predict", str(run), "--split", "validation", "--protocol", protocol]
            epicsub(*words, "-o", str(run / f"{name}.npz"), "--data", str(kitchens))


def epicsub(*words: str) -> None:
    """Run one command; stop with it if it fails."""
    print("$ epicsub", *words, flush=True)
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # sums of more threads round otherwise, and seeds grow apart
    subprocess.run([sys.executable, "-m", "epicsub", *words], check=True, env=one_thread)


def write_labelled(kitchens: Path) -> None:
    """The labelled list of target segments beside the answers, none of which is scored here."""
    answers = pd.read_csv(kitchens / "answers" / "test_labels.csv")[["narration_id", "verb_class", "noun_class"]]
    test = pd.read_csv(kitchens / "annotations" / "EPIC_100_test_timestamps.csv")
    labelled = test.merge(answers, on="narration_id", validate="1:1")
    write_text(kitchens / "answers" / LABELLED, labelled.to_csv(index=False))


def labelled_lists(annotations: Path, outliers: Path) -> dict[str, pd.DataFrame]:
    """The three lists that are scored, by name."""
    target = pd.read_csv(annotations / "EPIC_100_validation.csv")
    outside = set(pd.read_csv(outliers)["narration_id"])
    known = target[~target.narration_id.isin(outside)]
    return {
        "held-out source": pd.read_csv(annotations / "source_heldout.csv"),
        "target": target,
        "target, known verbs": known,
    }


def source_of(name: str) -> str:
    """Which file of predictions covers a list."""
    return "heldout" if name == "held-out source" else "validation"


def accuracies(predictions: Predictions, labels: pd.DataFrame) -> dict[str, float]:
    """Top-1 of verb, noun and both, in percent; the action is right when both are (as the organisers' product says)."""
    chosen = predictions.select(list(labels.narration_id))
    verb = chosen.verb_logprobs.argmax(1) == labels.verb_class.to_numpy()
    noun = chosen.noun_logprobs.argmax(1) == labels.noun_class.to_numpy()
    return {"verb": 100 * verb.mean(), "noun": 100 * noun.mean(), "action": 100 * (verb & noun).mean()}


def chance(lists: dict[str, pd.DataFrame], train: Path) -> dict[str, float]:
    """What the most frequent training verb, noun and pair of both, always given, would score."""
    labels = pd.read_csv(train)
    verb, noun = labels.verb_class.mode()[0], labels.noun_class.mode()[0]
    best_verb, best_noun = labels.groupby(["verb_class", "noun_class"]).size().idxmax()
    found = {}
    for name, table in lists.items():
        found[f"{name} verb"] = 100 * (table.verb_class == verb).mean()
        found[f"{name} noun"] = 100 * (table.noun_class == noun).mean()
        found[f"{name} action"] = 100 * ((table.verb_class == best_verb) & (table.noun_class == best_noun)).mean()
    return found


def report(scores: dict[str, dict[str, list[float]]], floor: dict[str, float], path: Path | None) -> None:
    """Print one row per arm: mean and standard deviation over seeds, in percent."""
    seeds = len(next(iter(next(iter(scores.values())).values())))
    print(f"\nTop-1 in percent, mean and standard deviation over {seeds} seeds\n")
    print("| | " + " | ".join(floor) + " |\n|---" * 1 + "|---" * len(floor) + "|")
    print("| chance | " + " | ".join(f"{value:.1f}" for value in floor.values()) + " |")
    for arm, columns in scores.items():
        cells = [
            f"{np.mean(columns[name]):.1f} ± {np.std(columns[name], ddof=min(1, seeds - 1)):.1f}" for name in floor
        ]
        print(f"| {arm} | " + " | ".join(cells) + " |")
    figures = {f"{arm}: {name}": float(np.mean(values)) for arm, row in scores.items() for name, values in row.items()}
    figures |= differences(scores)
    if only := scores.get("source only"):
        lost = np.mean(only["held-out source action"]) - np.mean(only["target action"])
        known = np.mean(only["held-out source action"]) - np.mean(only["target, known verbs action"])
        print(f"\nsource only loses {lost:.1f} points of action top-1 on the target, {known:.1f} on its known verbs")
        figures["source_only_action_drop"] = float(lost)
    write_figures(path, figures, by_seed=scores, chance=floor)


def differences(scores: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """Print every arm's points over the reference, paired by seed; return means and halves of intervals."""
    if REFERENCE not in scores:
        return {}
    figures: dict[str, float] = {}
    print(f"\n{MEASURE}: differences to {REFERENCE}, paired by seed, with 95 % confidence intervals (t, uncorrected)\n")
    print("| | difference | 95 % | pairs |\n|---|---|---|---|")
    for arm, row in scores.items():
        if arm != REFERENCE:
            pairs = list(zip(row[MEASURE], scores[REFERENCE][MEASURE], strict=True))
            difference, half = paired(pairs)
            print(
                f"| {arm} | {difference:+.2f} | {difference - half:+.2f} to {difference + half:+.2f} | {len(pairs)} |"
            )
            figures |= {f"{arm}: difference": difference, f"{arm}: half of the interval": half}
    return figures


if __name__ == "__main__":
    main()
