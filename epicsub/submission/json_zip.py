"""Writing test.json, the organisers' format of version 0.2, in its zip.

Scores get as few decimals as keep every ranking that the scorer makes: of the 97 verbs of a segment, of its 300 nouns,
and of the 100 best verb-noun pairs, which rank by the sum of two log-probabilities. Two scores keep their order if both
are rounded to a unit smaller than their distance, two pairs if the four scores are rounded to a unit smaller than half
of it. So each score needs as many decimals as the nearest of its neighbours asks for: three or four mostly.

Letters: B segments, C classes (V verbs, M nouns), P pairs of ranks.
"""

import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import orjson

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.predictions import Predictions
from epicsub.submission.supervision import Levels

JSON_VERSION = "0.2"
RESULTS = {"action_recognition": "results", "domain_adaptation": "results_target"}
"""Challenge, as test.json names it -> the key under which it expects the scores."""
CHALLENGES = tuple(RESULTS)
ROWS_AT_ONCE = 512
"""About 2 MB of text."""
FEWEST, MOST = 2, 12
"""Decimals. Scores or sums closer than 1e-12 are level: the softmax at the other end rounds more."""
COMPRESSION = 2
"""Level of deflate; the organisers' own writer has 5, which takes three times as long for 10 % fewer bytes."""
_LEVEL = 10.0**-MOST
_BEST = 100
"""Pairs that the scorer ranks."""
_KEYS = [str(number) for number in range(NUM_NOUNS)]
_PAIRS = np.array([(i, j) for i in range(NUM_VERBS) for j in range(_BEST + 1) if (i + 1) * (j + 1) <= _BEST + 1]).T
"""(2, P) ranks from 0: the pair at ranks (i, j) is beaten by all at ranks <= i and <= j, so the 101 best are here."""
_BY_NOUN = np.argsort(_PAIRS[1], kind="stable")
_VERB_STARTS, _NOUN_STARTS = (np.flatnonzero(np.diff(ranks, prepend=-1)) for ranks in (_PAIRS[0], _PAIRS[1][_BY_NOUN]))


def write_zip(path: Path, name: str, parts: Iterable[bytes]) -> None:
    """Write a zip of one deflated entry dated 1980-01-01, so that the same content gives the same bytes.

    Args:
        path: the zip, written as it stands.
        name: of the entry.
        parts: the content, part by part.
    """
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION) as archive,
        archive.open(name, "w") as entry,
    ):
        entry.writelines(parts)


def write_json_zip(path: Path, predictions: Predictions, levels: Levels, challenge: str = CHALLENGES[0]) -> None:
    """Write a zip that holds test.json.

    Args:
        path: the zip, written as it stands; `write_submission` writes it whole or not at all.
        predictions: N segments.
        levels: supervision levels.
        challenge: one of `CHALLENGES`.
    """
    head = orjson.dumps({"version": JSON_VERSION, "challenge": challenge, **levels.as_json()})[:-1]
    with ThreadPoolExecutor() as pool:
        rows = pool.map(partial(_rows, predictions), range(0, len(predictions), ROWS_AT_ONCE))
        write_zip(path, "test.json", chain([head, b',"%b":{' % RESULTS[challenge].encode()], rows, [b"}}"]))


def _rows(predictions: Predictions, first: int) -> bytes:
    rows = slice(first, first + ROWS_AT_ONCE)
    names = predictions.narration_ids[rows].tolist()
    tables = round_scores(predictions.verb_logprobs[rows], predictions.noun_logprobs[rows])
    entries = {
        name: {"verb": dict(zip(_KEYS, verb, strict=False)), "noun": dict(zip(_KEYS, noun, strict=True))}
        for name, verb, noun in zip(names, *(table.tolist() for table in tables), strict=True)
    }
    return (b"," if first else b"") + orjson.dumps(entries)[1:-1]


def round_scores(verb_BV: np.ndarray, noun_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round the scores of B segments to as few decimals as keep their rankings for certain.

    Args:
        verb_BV: (B, 97) log-probabilities.
        noun_BM: (B, 300) log-probabilities.

    Returns:
        (B, 97) and (B, 300) float64, each the nearest number to the decimals that stand in the file.
    """
    scores = [table.astype(np.float64) for table in (verb_BV, noun_BM)]
    orders = [np.argsort(-table, axis=1) for table in scores]
    falling = [np.take_along_axis(table, order, axis=1) for table, order in zip(scores, orders, strict=True)]
    of_pairs = _room_of_pairs(*falling)
    for table_BC, order_BC, falling_BC, pairs_BR in zip(scores, orders, falling, of_pairs, strict=True):
        room_BC = _room(falling_BC)
        ranks = pairs_BR.shape[1]
        room_BC[:, :ranks] = np.minimum(room_BC[:, :ranks], pairs_BR)
        decimals_BC = np.clip(np.floor(-np.log10(_least_of_level(room_BC, falling_BC))) + 1, FEWEST, MOST)
        units_BC = np.empty_like(table_BC)
        np.put_along_axis(units_BC, order_BC, 10.0**decimals_BC, axis=1)
        table_BC[:] = np.rint(table_BC * units_BC) / units_BC
    return scores[0], scores[1]


def _room(falling_BC: np.ndarray) -> np.ndarray:
    """(B, C) distance from each score of a falling row to the nearest that is not level with it."""
    gaps = -np.diff(falling_BC, axis=1, prepend=np.inf, append=-np.inf)
    gaps[gaps <= _LEVEL] = np.inf
    return _least_of_level(np.minimum(gaps[:, :-1], gaps[:, 1:]), falling_BC)


def _least_of_level(room_BC: np.ndarray, falling_BC: np.ndarray) -> np.ndarray:
    """(B, C) the least room among scores that are level: they must be rounded alike to stay so."""
    starts = np.flatnonzero(np.diff(falling_BC, axis=1, prepend=np.inf) < -_LEVEL)
    if len(starts) == room_BC.size:
        return room_BC
    least = np.minimum.reduceat(room_BC.ravel(), starts)
    shared: np.ndarray = np.repeat(least, np.diff(starts, append=room_BC.size)).reshape(room_BC.shape)
    return shared


def _room_of_pairs(verb_BV: np.ndarray, noun_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, 97) and (B, 101), by rank of verb and of noun: half the room of the pairs that each is in."""
    sums_BP = verb_BV[:, _PAIRS[0]] + noun_BM[:, _PAIRS[1]]
    order_BP = np.argsort(-sums_BP, axis=1)
    falling_BP = np.take_along_axis(sums_BP, order_BP, axis=1)
    room_BP = _room(falling_BP)
    # A pair below the hundredth may change places with others there, but must not reach the hundredth.
    below = falling_BP[:, _BEST - 1 : _BEST] - falling_BP[:, _BEST:]
    room_BP[:, _BEST:] = np.where(below > _LEVEL, below, room_BP[:, _BEST:])
    half_BP = np.empty_like(room_BP)
    np.put_along_axis(half_BP, order_BP, room_BP / 2, axis=1)
    return (
        np.minimum.reduceat(half_BP, _VERB_STARTS, axis=1),
        np.minimum.reduceat(half_BP[:, _BY_NOUN], _NOUN_STARTS, axis=1),
    )
