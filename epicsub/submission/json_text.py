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
_POINT = ord(".")


def json_pieces(predictions: Predictions, levels: Levels, challenge: str) -> Iterator[Callable[[], bytes]]:
    """The parts of test.json, in order, as functions that make them.

    Each row has as many decimals as keep its ranking: see `decimals.round_scores`.
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


def _texts(rounded: Rounded) -> Iterator[bytes]:
    """Of each segment `"0":-1.234,"1":-5.678,...`."""
    units_BC, decimals_B = rounded
    most = int(decimals_B.max())
    keys_CK, counts_CK = _keys(units_BC.shape[1])
    size_B1 = 10 ** (most - decimals_B)[:, None]
    size_BC = np.abs(units_BC) * size_B1
    size_BC = size_BC.astype(np.uint32 if size_BC.max(initial=0) < 1 << 32 else np.uint64)
    width = keys_CK.shape[1]
    text_BCW = np.empty((*units_BC.shape, width + 4 + most), dtype=np.uint8)
    counts_BCW = np.ones(text_BCW.shape, dtype=bool)
    text_BCW[:, :, :width], counts_BCW[:, :, :width] = keys_CK, counts_CK
    text_BCW[:, :, width], counts_BCW[:, :, width] = ord("-"), units_BC < 0
    text_BCW[:, :, width + 3] = _POINT
    for place in range(most - 1, -1, -1):
        rest_BC = size_BC // 10
        text_BCW[:, :, width + 4 + place] = size_BC - rest_BC * 10 + ord("0")
        counts_BCW[:, :, width + 4 + place] = (decimals_B > place)[:, None]
        size_BC = rest_BC
    text_BCW[:, :, width + 1], text_BCW[:, :, width + 2] = np.divmod(size_BC, 10) + np.uint8(ord("0"))
    counts_BCW[:, :, width + 1] = size_BC >= 10
    whole = text_BCW[counts_BCW].tobytes()
    ends = np.cumsum(counts_BCW.sum(axis=(1, 2))).tolist()
    return (whole[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True))


@cache
def _keys(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(C, K) bytes of `,"7":` and which of them count: not the first comma."""
    keys = [f',"{number}":'.encode() for number in range(classes)]
    width = max(map(len, keys))
    table = np.frombuffer(b"".join(key.ljust(width) for key in keys), dtype=np.uint8).reshape(classes, width)
    counts = table != ord(" ")
    counts[0, 0] = False
    return table, counts
