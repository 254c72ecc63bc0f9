"""Losses and samplers for rare classes on small kitchens made imbalanced, over three seeds.

    python benchmarks/imbalance.py --json benchmarks/results/imbalance.json

The small kitchens' classes are nearly even. A skip list leaves out training segments until the most frequent noun has
`--ratio` times the segments of the rarest, with the others between them on an exponential curve, as long-tailed
benchmarks are made (arXiv 1901.05555, section 5.1). Nouns are balanced against, verbs follow. "Rare" is the rarer half
of the nouns; all are scored on the held-out segments of the training kitchens, which keep their shares.

Every run goes through the command line; one that is finished is not repeated, and one that was killed goes on.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from kitchens import epicsub
from machine import write_figures

from epicsub.files import write_text
from epicsub.predictions import load_predictions

ARMS = {
    "cross-entropy": [],
    "focal": ["train.losses.noun={name: focal}"],
    "class weights, square root": ["train.losses.noun={class_weights: square_root}"],
    "class weights, effective number": ["train.losses.noun={class_weights: effective_number, beta: 0.99}"],
    "logit-adjusted": ["train.losses.noun={name: logit_adjusted}"],
    "equalised": ["train.losses.noun={name: equalised, tail_share: 0.1}"],
    "square-root sampling": ["train.sampling={balance: square_root, by: noun}"],
    "class-balanced sampling": ["train.sampling={balance: class, by: noun}"],
}
SMALL = [
    "data.modalities=[rgb]", "model.weights={rgb: null}", "model.width=0.125", "data.workers=0",
    "train.stages.1.steps=50",
]  # fmt: skip
PROTOCOL = "validation/tiny_heldout.yaml"
GROUPS = ("all", "rare", "frequent")


def main() -> None:
    """Train every arm and seed, score, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kitchens", type=Path, default=Path("kitchens"))
    parser.add_argument("--out", type=Path, default=Path("outputs/imbalance"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--ratio", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    epicsub("data", "synth", str(arguments.kitchens))
    annotations = arguments.kitchens / "annotations"
    train, heldout = (pd.read_csv(annotations / name) for name in ("EPIC_100_train.csv", "source_heldout.csv"))
    skipped, kept = made_imbalanced(train, arguments.ratio)
    skip = arguments.out / "skip.txt"
    write_text(skip, "".join(f"{name}\n" for name in skipped))
    print(f"training segments a noun: {kept.to_dict()}")
    rare = set(kept.index[len(kept) // 2 :])
    common = [*SMALL, f"train.stages.0.steps={arguments.steps}", f"data.skip={skip}"]
    scores: dict[str, list[dict[str, float]]] = {arm: [] for arm in arguments.arms}
    for seed in arguments.seeds:
        for arm in arguments.arms:
            run = arguments.out / f"{arm.replace(', ', '_').replace(' ', '_')}_{seed}"
            words = [*common, *ARMS[arm], f"seed={seed}", "--out", str(run), "--data", str(arguments.kitchens)]
            epicsub("train", "recipes/tiny/source_only.yaml", *words)
            scores[arm].append(accuracies(run, heldout, rare, arguments.kitchens))
    report(scores, arguments.json, {"ratio": arguments.ratio, "steps": arguments.steps, "nouns": kept.to_dict()})


def made_imbalanced(train: pd.DataFrame, ratio: float) -> tuple[list[str], pd.Series]:
    """Narration ids to leave out, and how many segments each noun keeps, the most frequent first."""
    counts = train.noun_class.value_counts()
    most, ranks = counts.iloc[0], np.arange(len(counts)) / (len(counts) - 1)
    wanted = np.minimum(counts, np.ceil(most * ratio**-ranks)).astype(int)
    skipped: list[str] = []
    for noun, keep in wanted.items():
        ids = train.narration_id[train.noun_class == noun].tolist()
        skipped += np.random.default_rng(int(noun)).permutation(ids)[keep:].tolist()  # type: ignore[call-overload]
    return sorted(skipped), wanted


def accuracies(run: Path, heldout: pd.DataFrame, rare: set[int], kitchens: Path) -> dict[str, float]:
    """Noun and action top-1 in percent over all held-out segments, those of rare nouns and the others."""
    path = run / "heldout.npz"
    if not path.is_file():
        words = ["predict", str(run), "--split", "validation", "--protocol", PROTOCOL, "-o", str(path)]
        epicsub(*words, "--data", str(kitchens))
    chosen = load_predictions(path).select(list(heldout.narration_id))
    noun = chosen.noun_logprobs.argmax(1) == heldout.noun_class.to_numpy()
    verb = chosen.verb_logprobs.argmax(1) == heldout.verb_class.to_numpy()
    is_rare = heldout.noun_class.isin(rare).to_numpy()
    rows = {"all": np.ones_like(is_rare), "rare": is_rare, "frequent": ~is_rare}
    hits = {"noun": noun, "action": noun & verb}
    return {f"{group} {task}": 100 * hits[task][rows[group]].mean() for task in hits for group in GROUPS}


def report(scores: dict[str, list[dict[str, float]]], path: Path | None, settings: dict[str, object]) -> None:
    """Print one row an arm: mean and standard deviation over seeds, and the paired gain on rare nouns."""
    columns = list(next(iter(scores.values()))[0])
    plain = scores.get("cross-entropy")
    print(f"\nTop-1 in percent, mean and standard deviation over {len(next(iter(scores.values())))} seeds\n")
    print("| | " + " | ".join(columns) + " | rare noun over cross-entropy |")
    print("|---" * (len(columns) + 2) + "|")
    figures = {}
    for arm, seeds in scores.items():
        values = {name: [seed[name] for seed in seeds] for name in columns}
        cells = [f"{np.mean(values[name]):.1f} ± {spread(values[name]):.1f}" for name in columns]
        gain = ""
        if plain is not None:
            gains = [one["rare noun"] - other["rare noun"] for one, other in zip(seeds, plain, strict=True)]
            gain = f"{np.mean(gains):+.1f} ± {spread(gains):.1f}"
            figures[f"{arm}: rare noun over cross-entropy"] = float(np.mean(gains))
        figures |= {f"{arm}: {name}": float(np.mean(values[name])) for name in columns}
        print(f"| {arm} | " + " | ".join(cells) + f" | {gain} |")
    write_figures(path, figures, by_seed=scores, settings=settings)


def spread(values: list[float]) -> float:
    """Standard deviation over seeds; 0 of one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
