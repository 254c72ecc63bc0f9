"""Scoring 9,668 segments and writing 13,092, beside plain implementations of the organisers' methods.

    python benchmarks/scoring.py --json benchmarks/results/scoring.json

Both sides compute the twelve scores of the challenge from the same arrays, and the figures must be equal to 1e-9.
`scoring_over_plain`: how many times less time ours takes, the best of some runs each. `scoring_extra_mb`: the most
memory that a new process held while scoring, over what it held with the inputs read.

Writing: test.json in its zip, beside json.dumps and zipfile (deflate 5, as the organisers') of the same content; both
must parse to the same numbers, and all rankings of verbs, nouns and the 100 best pairs be those of the predictions.
`writer_over_plain`: how many times less time ours takes. `writer_over_full`: the same beside numbers with every digit,
as the organisers' writer keeps them. `json_zip_share`: our zip's part of that one's bytes. `writer_peak_mb`: the most
that a new process held in all that wrote it. `submission_peak_mb`: that wrote all four files of a submission, for which
torch is imported; `submission_extra_mb`: over what it held with torch and the inputs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from machine import benchmark_parser, write_figures

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.predictions import Predictions, read_predictions, save_predictions
from epicsub.submission import Levels
from epicsub.submission.ensemble import equal_blend
from epicsub.submission.json_zip import write_json_zip
from epicsub.validation import Reference

SEGMENTS, TEST_SEGMENTS = 9668, 13092
LEVELS = Levels(2, 3, 3)
BLOCK = 1000
"""Rows that the plain implementation sorts at once: all at once it takes 1.5 GB and is slower."""
TAIL_VERBS, TAIL_NOUNS, UNSEEN = set(range(11, NUM_VERBS)), set(range(72, NUM_NOUNS)), {"P18", "P32"}


def main() -> None:
    """Measure and print every figure."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(scoring_memory(arguments.memory_of))
        return
    figures = scoring_figures(arguments.repeats) | writer_figures(arguments.repeats)
    for name, value in figures.items():
        print(f"{name}: {value:.4g}")
    write_figures(arguments.json, figures)


# Scoring


def our_scores(predictions: Predictions, labels: pd.DataFrame) -> dict[str, float]:
    """The twelve scores, by the package."""
    return Reference("ours", labels, TAIL_VERBS, TAIL_NOUNS, UNSEEN).evaluate(predictions).scores


def scoring_figures(repeats: int) -> dict[str, float]:
    """Time of both sides, their ratio, and the memory of ours."""
    predictions, labels = synthetic(SEGMENTS)
    ours, our_seconds = timed(lambda: our_scores(predictions, labels), repeats)
    plain, plain_seconds = timed(lambda: plain_scores(predictions, labels), min(repeats, 2))
    assert ours.keys() == plain.keys()
    worst = max(abs(ours[name] - plain[name]) for name in ours)
    assert worst <= 1e-9, f"the figures differ by {worst}"
    with tempfile.TemporaryDirectory() as folder:
        save_predictions(predictions, Path(folder) / "predictions.npz")
        labels.to_csv(Path(folder) / "labels.csv", index=False)
        words = [sys.executable, __file__, "--memory-of", folder]
        extra = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return {
        "scoring_seconds": our_seconds,
        "plain_scoring_seconds": plain_seconds,
        "scoring_over_plain": plain_seconds / our_seconds,
        "scoring_extra_mb": extra,
        "scoring_difference": worst,
    }


def synthetic(segments: int, seed: int = 0) -> tuple[Predictions, pd.DataFrame]:
    """Predictions that know something, and labels with a long tail, as many as asked for.

    Other seeds are other models of the same segments.
    """
    rng = np.random.default_rng(0)
    verb_N = np.minimum(rng.geometric(0.15, segments) - 1, NUM_VERBS - 1)
    noun_N = np.minimum(rng.geometric(0.03, segments) - 1, NUM_NOUNS - 1)
    if seed:
        rng = np.random.default_rng(seed)
    verb, noun = rng.normal(0, 2, (segments, NUM_VERBS)), rng.normal(0, 2, (segments, NUM_NOUNS))
    verb[np.arange(segments), verb_N] += 4
    noun[np.arange(segments), noun_N] += 4
    ids = [f"P{1 + row % 32:02d}_01_{row}" for row in range(segments)]
    labels = pd.DataFrame(
        {
            "narration_id": ids,
            "participant_id": [name[:3] for name in ids],
            "verb_class": verb_N,
            "noun_class": noun_N,
        }
    )
    return Predictions.from_scores(ids, verb, noun), labels


def timed(work: Callable[[], dict[str, float]], repeats: int) -> tuple[dict[str, float], float]:
    """Result of `work`, and the least seconds it took."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return result, min(seconds)


def plain_scores(predictions: Predictions, labels: pd.DataFrame) -> dict[str, float]:
    """The definition as it reads: a softmax of the matrices, and per row the products of 100 by 100 sorted."""
    verb_NV, noun_NM = softmax(predictions.verb_logprobs), softmax(predictions.noun_logprobs)
    rows = labels.set_index("narration_id").loc[predictions.narration_ids]
    verb_N, noun_N = rows["verb_class"].to_numpy(), rows["noun_class"].to_numpy()
    verbs = verb_NV.argsort(axis=1)[:, ::-1][:, :100]
    nouns = noun_NM.argsort(axis=1)[:, ::-1][:, :100]
    blocks = [slice(first, first + BLOCK) for first in range(0, len(rows), BLOCK)]
    actions = [sorted_pairs(verb_NV[block], noun_NM[block], verbs[block], nouns[block]) for block in blocks]
    verb_of_NK, noun_of_NK = (np.concatenate(parts) for parts in zip(*actions, strict=True))
    right = {
        "verb": verbs == verb_N[:, None],
        "noun": nouns == noun_N[:, None],
        "action": (verb_of_NK == verb_N[:, None]) & (noun_of_NK == noun_N[:, None]),
    }
    groups = {"verb": np.isin(verb_N, list(TAIL_VERBS)), "noun": np.isin(noun_N, list(TAIL_NOUNS))}
    groups["action"] = groups["verb"] | groups["noun"]
    unseen = rows["participant_id"].isin(UNSEEN).to_numpy()
    scores = {f"all_{task}_accuracy_at_{k}": right[task][:, :k].any(axis=1).mean() for task in right for k in (1, 5)}
    scores |= {f"tail_{task}_accuracy_at_1": right[task][groups[task], 0].mean() for task in right}
    scores |= {f"unseen_{task}_accuracy_at_1": right[task][unseen, 0].mean() for task in right}
    return {name: 100 * float(value) for name, value in scores.items()}


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the whole matrix, as the organisers do; in float64, where no product becomes zero."""
    powers: np.ndarray = np.exp(scores.astype(np.float64) - scores.max())
    return powers / powers.sum()


def sorted_pairs(
    verb_NV: np.ndarray, noun_NM: np.ndarray, verbs: np.ndarray, nouns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Verb and noun of the 100 highest products of each row."""
    high_verb, high_noun = np.take_along_axis(verb_NV, verbs, 1), np.take_along_axis(noun_NM, nouns, 1)
    products = (high_verb[:, :, None] * high_noun[:, None, :]).reshape(len(verbs), -1)
    order = products.argsort(axis=1)[:, ::-1][:, :100]
    first, second = np.divmod(order, nouns.shape[1])
    return np.take_along_axis(verbs, first, 1), np.take_along_axis(nouns, second, 1)


def scoring_memory(folder: Path) -> float:
    """Megabytes (1e6) that scoring took at most over what this process held with the inputs read. Linux only."""
    predictions, labels = read_predictions(folder / "predictions.npz"), pd.read_csv(folder / "labels.csv")
    before = status_of_process("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    our_scores(predictions, labels)
    return (status_of_process("VmHWM") - before) / 1e6


# Writing


def writer_figures(repeats: int) -> dict[str, float]:
    """Time of both sides, their ratio, sizes, and the memory of ours."""
    predictions = ensemble(TEST_SEGMENTS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, our_seconds = timed(lambda: write_json_zip(folder / "ours.zip", predictions, LEVELS), repeats)
        ours = parsed(folder / "ours.zip")
        tables = numbers_of(ours)
        _, plain_seconds = timed(lambda: plain_zip(folder / "plain.zip", predictions, tables), min(repeats, 3))
        assert parsed(folder / "plain.zip") == ours, "the two say something else"
        full = (predictions.verb_logprobs, predictions.noun_logprobs)
        _, full_seconds = timed(lambda: plain_zip(folder / "full.zip", predictions, full), min(repeats, 2))
        assert_same_ranking(tables, full)
        share = (folder / "ours.zip").stat().st_size / (folder / "full.zip").stat().st_size
        save_predictions(predictions, folder / "predictions.npz")
        (_, peak), (before, whole) = (writing_memory(folder, what) for what in ("json", "all"))
    return {
        "writer_seconds": our_seconds,
        "plain_writer_seconds": plain_seconds,
        "full_writer_seconds": full_seconds,
        "writer_over_plain": plain_seconds / our_seconds,
        "writer_over_full": full_seconds / our_seconds,
        "json_zip_share": share,
        "writer_peak_mb": peak,
        "submission_peak_mb": whole,
        "submission_extra_mb": whole - before,
    }


def writing_memory(folder: Path, what: str) -> list[float]:
    """Megabytes that a new process held before and at most while it wrote."""
    words = [sys.executable, str(Path(__file__).with_name("writing_memory.py")), str(folder), what]
    return [float(word) for word in subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()]


def ensemble(segments: int) -> Predictions:
    """The mean of three models that know something: what a submission is made of."""
    return equal_blend(3).apply([synthetic(segments, seed)[0] for seed in range(3)])


def plain_zip(path: Path, predictions: Predictions, tables: tuple[np.ndarray, np.ndarray]) -> None:
    """A dict, json.dumps, zipfile: what one writes first."""
    results = {
        name: {
            "verb": {str(number): float(score) for number, score in enumerate(verb)},
            "noun": {str(number): float(score) for number, score in enumerate(noun)},
        }
        for name, verb, noun in zip(predictions.narration_ids.tolist(), *tables, strict=True)
    }
    content = {"version": "0.2", "challenge": "action_recognition", **LEVELS.as_json(), "results": results}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=5) as archive:
        archive.writestr("test.json", json.dumps(content))


def parsed(path: Path) -> dict:
    """The content of test.json."""
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("test.json"))


def numbers_of(content: dict) -> tuple[np.ndarray, np.ndarray]:
    """(N, 97) and (N, 300) float64."""
    rows = content["results"].values()
    verb, noun = (np.array([list(row[kind].values()) for row in rows]) for kind in ("verb", "noun"))
    return verb, noun


def assert_same_ranking(written: tuple[np.ndarray, np.ndarray], meant: tuple[np.ndarray, np.ndarray]) -> None:
    """Verbs, nouns and the organisers' 100 best pairs of every row come in the same order, level ones in any."""
    means = tuple(table.astype(np.float64) for table in meant)
    for ours, theirs in zip(written, means, strict=True):
        order = np.argsort(-ours, axis=1, kind="stable")
        assert (np.diff(np.take_along_axis(theirs, order, 1), axis=1) <= 0).all(), "a row ranks otherwise"
    for first in range(0, len(written[0]), BLOCK):
        rows = slice(first, first + BLOCK)
        verb, noun = (np.argsort(table[rows], axis=1)[:, ::-1][:, :100] for table in written)
        pairs = sorted_pairs(softmax(written[0])[rows], softmax(written[1])[rows], verb, noun)
        sums = sum(np.take_along_axis(table[rows], chosen, 1) for table, chosen in zip(means, pairs, strict=True))
        best = np.sort((means[0][rows, :, None] + np.sort(means[1][rows])[:, None, -100:]).reshape(len(sums), -1))
        worst = np.abs(sums - best[:, :-101:-1]).max()
        assert worst <= 1e-11, f"an action ranks otherwise: {worst} apart"


def status_of_process(name: str) -> int:
    """A size of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) * 1024


if __name__ == "__main__":
    main()
