"""The text of test.json, many rows at a time.

A row of scores is laid out as a table of bytes, `,"123":-27.123456` for each class, with a mask of those that count;
numpy then takes all of them in one go. Nothing is written that json.dumps would not read back as the same numbers.

Letters: B segments, C classes, W bytes that a score takes at most.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np

from epicsub.predictions import Predictions
from epicsub.submission.decimals import Rounded, round_scores
from epicsub.submission.supervision import Levels

JSON_VERSION = "0.2"
RESULTS = {"action_recognition": "results", "domain_adaptation": "results_target"}
"""Challenge, as test.json names it -> the key under which it expects the scores."""
CHALLENGES = tuple(RESULTS)
ROWS_AT_ONCE = 512
"""About 3 MB of text."""
_SHORT = 6
"""Decimals with which a score of two digits before the point fits 32 bits; see PROBABILITY_FLOOR for the lowest."""


def json_pieces(predictions: Predictions, levels: Levels, challenge: str) -> Iterator[Callable[[], bytes]]:
    """The parts of test.json, in order, as functions that make them.

    Scores have as many decimals as keep the rankings: see `decimals.round_scores`.
    """
    head = json.dumps({"version": JSON_VERSION, "challenge": challenge, **levels.as_json()}, separators=(",", ":"))
    yield lambda: f'{head[:-1]},"{RESULTS[challenge]}":{{'.encode("ascii")
    for first in range(0, len(predictions), ROWS_AT_ONCE):
        yield partial(_rows, predictions, first)
    yield lambda: b"}}"


def _rows(predictions: Predictions, first: int) -> bytes:
    rows = slice(first, first + ROWS_AT_ONCE)
    verb, noun = round_scores(predictions.verb_logprobs[rows], predictions.noun_logprobs[rows])
    names = [json.dumps(name).encode("ascii") for name in predictions.narration_ids[rows].tolist()]
    entries = (b'%s:{"verb":{%s},"noun":{%s}}' % entry for entry in zip(names, _texts(verb), _texts(noun), strict=True))
    return (b"," if first else b"") + b",".join(entries)


def _texts(rounded: Rounded) -> list[bytes]:
    """Of each segment `"0":-1.23,"1":-5.678,...`. The few rows with many decimals apart: their tables are wider."""
    long_B = rounded.decimals.max(axis=1) > _SHORT
    texts = [b""] * len(long_B)
    for rows in (np.flatnonzero(~long_B), np.flatnonzero(long_B)):
        if len(rows):
            for row, text in zip(rows, _table(rounded.units[rows], rounded.decimals[rows]), strict=True):
                texts[row] = text
    return texts


def _table(units_BC: np.ndarray, decimals_BC: np.ndarray) -> Iterator[bytes]:
    most = int(decimals_BC.max())
    keys_CK, counts_CK = _keys(units_BC.shape[1])
    width = keys_CK.shape[1]
    text_BCW = np.empty((*units_BC.shape, width + 4 + most), dtype=np.uint8)
    counts_BCW = np.ones(text_BCW.shape, dtype=bool)
    text_BCW[:, :, :width], counts_BCW[:, :, :width] = keys_CK, counts_CK
    text_BCW[:, :, width], counts_BCW[:, :, width] = ord("-"), units_BC < 0
    text_BCW[:, :, width + 3] = ord(".")
    rest_BC = np.abs(units_BC) * 10 ** (most - decimals_BC)
    rest_BC = rest_BC.astype(np.uint32 if most <= _SHORT else np.uint64)
    for place in range(most - 1, -1, -1):
        rest_BC, digit_BC = _last_digit(rest_BC)
        text_BCW[:, :, width + 4 + place] = digit_BC
        counts_BCW[:, :, width + 4 + place] = decimals_BC > place
    tens_BC, ones_BC = _last_digit(rest_BC)
    if tens_BC.max() > 9:
        raise ValueError(
            "scores of three digits before the point: log-probabilities are floored before they are written"
        )
    text_BCW[:, :, width + 1], text_BCW[:, :, width + 2] = tens_BC + ord("0"), ones_BC
    counts_BCW[:, :, width + 1] = tens_BC > 0
    whole = text_BCW[counts_BCW].tobytes()
    ends = np.cumsum(counts_BCW.sum(axis=(1, 2))).tolist()
    return (whole[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True))


def _last_digit(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is before the last decimal digit, and that digit as a character."""
    before = numbers // 10
    return before, (numbers - before * 10).astype(np.uint8) + np.uint8(ord("0"))


@cache
def _keys(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(C, K) bytes of `,"7":` and which of them count: not the first comma."""
    keys = [f',"{number}":'.encode() for number in range(classes)]
    width = max(map(len, keys))
    table = np.frombuffer(b"".join(key.ljust(width) for key in keys), dtype=np.uint8).reshape(classes, width)
    counts = table != ord(" ")
    counts[0, 0] = False
    return table, counts
