"""What files of predictions can hold: their formats, and ways to change the scores with what must come of each."""

import io
import json
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.campaigns.byte_faults import appended, cut, flipped, flipped_at_an_end, taken_out, zeroed

IDS = ["P01_101_0", "P01_101_1", "P01_101_10", "P22_117_3", "P22_117_4"]
SIZES = {"verb": 97, "noun": 300}
Table = dict[str, Any]

# Forms


def _rows_of(table: Table, convert: Callable[[Any], Any] = np.asarray) -> list[dict[str, Any]]:
    rows = zip(table["ids"], table["verb"], table["noun"], strict=True)
    named = (
        {"narration_id": name, "verb_output": convert(verb), "noun_output": convert(noun)} for name, verb, noun in rows
    )
    return [row | table.get("more", {}) for row in named]


def _dict_of(table: Table) -> dict[str, Any]:
    return {
        "narration_id": table["ids"],
        "verb_output": table["verb"],
        "noun_output": table["noun"],
        **table.get("more", {}),
    }


def _pickled(content: Any, rng: random.Random) -> tuple[str, bytes]:
    return ".pkl", pickle.dumps(content, rng.choice((2, 3, 4, 5)))


def _saved(content: Any, legacy: bool = False) -> tuple[str, bytes]:
    held = io.BytesIO()
    torch.save(content, held, _use_new_zipfile_serialization=not legacy)
    return ".pt", held.getvalue()


def _npz(table: Table, rng: random.Random) -> tuple[str, bytes]:
    held = io.BytesIO()
    arrays = {key: np.asarray(value) for key, value in _dict_of(table).items()}
    (np.savez_compressed if rng.random() < 0.5 else np.savez)(held, allow_pickle=False, **arrays)
    return ".npz", held.getvalue()


def _own_npz(table: Table, rng: random.Random) -> tuple[str, bytes]:
    held = io.BytesIO()
    verb, noun = (np.asarray(table[kind], np.float32) for kind in SIZES)
    np.savez(held, narration_ids=np.asarray(table["ids"]), verb_logprobs=verb, noun_logprobs=noun)
    return ".npz", held.getvalue()


def _json(table: Table, rng: random.Random) -> tuple[str, bytes]:
    rows = {
        name: {
            "verb": {str(n): score for n, score in enumerate(np.asarray(verb).tolist())},
            "noun": {str(n): score for n, score in enumerate(np.asarray(noun).tolist())},
        }
        for name, verb, noun in zip(table["ids"], table["verb"], table["noun"], strict=True)
    }
    if len(rows) < len(table["ids"]) or table.get("more") or not all(isinstance(name, str) for name in table["ids"]):
        raise ValueError
    text = json.dumps(
        {"version": "0.2", "challenge": "action_recognition", rng.choice(("results", "results_target")): rows}
    )
    return ".json", rng.choice((b"", b"\xef\xbb\xbf")) + text.encode()


FORMS: dict[str, Callable[[Table, random.Random], tuple[str, bytes]]] = {
    "pkl list": lambda table, rng: _pickled(_rows_of(table), rng),
    "pkl list of tensors": lambda table, rng: _pickled(
        _rows_of(table, lambda row: torch.as_tensor(np.asarray(row))), rng
    ),
    "pkl list of lists": lambda table, rng: _pickled(_rows_of(table, lambda row: np.asarray(row).tolist()), rng),
    "pkl dict": lambda table, rng: _pickled(_dict_of(table), rng),
    "pkl frame": lambda table, rng: _pickled(pd.DataFrame(_rows_of(table)), rng),
    "pkl frame by id": lambda table, rng: _pickled(pd.DataFrame(_rows_of(table)).set_index("narration_id"), rng),
    "pt list": lambda table, rng: _saved(_rows_of(table, lambda row: torch.as_tensor(np.asarray(row)))),
    "pt list, legacy": lambda table, rng: _saved(_rows_of(table, lambda row: torch.as_tensor(np.asarray(row))), True),
    "pt list, float16": lambda table, rng: _saved(_rows_of(table, lambda row: torch.as_tensor(np.asarray(row)).half())),
    "pt list, bfloat16": lambda table, rng: _saved(
        _rows_of(table, lambda row: torch.as_tensor(np.asarray(row)).bfloat16())
    ),
    "pt list of arrays": lambda table, rng: _saved(_rows_of(table)),
    "pt dict": lambda table, rng: _saved(_dict_of(table)),
    "npz": _npz,
    "npz, own": _own_npz,
    "json": _json,
}


# Ways to change the scores, and what must come of it


def _with(table: Table, expect: str, **new: Any) -> tuple[Table, str]:
    return {**table, **new}, expect


def _both(table: Table, change: Callable[[np.ndarray], Any], expect: str = "same") -> tuple[Table, str]:
    return {**table, **{kind: change(table[kind]) for kind in SIZES}}, expect


def _one_value(table: Table, value: float, rng: random.Random) -> tuple[Table, str]:
    kind = rng.choice(list(SIZES))
    changed = table[kind].copy()
    changed[rng.randrange(len(IDS)), rng.randrange(SIZES[kind])] = value
    return _with(table, "refuse", **{kind: changed})


def _one_id(table: Table, name: Any, rng: random.Random, expect: str = "refuse") -> tuple[Table, str]:
    ids: list[Any] = list(IDS)
    place = rng.randrange(len(ids))
    ids[place] = name(ids[place]) if callable(name) else name
    return _with(table, expect, ids=ids)


def _one_head(table: Table, change: Callable[[np.ndarray], Any], rng: random.Random, expect: str) -> tuple[Table, str]:
    kind = rng.choice(list(SIZES))
    return _with(table, expect, **{kind: change(table[kind])})


def _shuffled(table: Table, rng: random.Random) -> tuple[Table, str]:
    order = rng.sample(range(len(IDS)), len(IDS))
    return _with(table, "same", ids=[IDS[place] for place in order], **{kind: table[kind][order] for kind in SIZES})


def _some_rows_probabilities(table: Table, rng: random.Random) -> tuple[Table, str]:
    verb = table["verb"].copy()
    verb[rng.randrange(len(IDS))] = np.exp(verb[0])
    return _with(table, "refuse", verb=verb)


def _ragged(table: Table, rng: random.Random) -> tuple[Table, str]:
    kind = rng.choice(list(SIZES))
    rows = list(table[kind])
    place = rng.randrange(len(rows))
    rows[place] = rows[place][: -rng.randrange(1, 5)]
    return _with(table, "refuse", **{kind: rows})


Way = Callable[[Table, random.Random], tuple[Table, str]]
OF_SCORES: dict[str, Way] = {
    "unchanged": lambda t, r: (t, "same"),
    "in another order": _shuffled,
    "float64": lambda t, r: _both(t, lambda x: x.astype(np.float64)),
    "big endian": lambda t, r: _both(t, lambda x: x.astype(">f4")),
    "columns first": lambda t, r: _both(t, np.asfortranarray),
    "logits": lambda t, r: _both(t, lambda x: x + np.linspace(-9, 40, len(x))[:, None], "own_or_same"),
    "probabilities": lambda t, r: _both(t, np.exp, "own_or_same"),
    "times 10": lambda t, r: _both(t, lambda x: 10 * np.exp(x), "own_or_same"),
    "times 30": lambda t, r: _both(t, lambda x: 30 * np.exp(x), "own_or_same"),
    "percent": lambda t, r: _both(t, lambda x: 100 * np.exp(x), "own_or_same"),
    "of 28 to 30 views": lambda t, r: _both(
        t, lambda x: np.linspace(28, 30, len(x))[:, None] * np.exp(x), "own_or_same"
    ),
    "negated": lambda t, r: _both(t, np.negative, "refuse"),
    "base 10": lambda t, r: _both(t, lambda x: x / np.log(10), "refuse"),
    "base 2": lambda t, r: _both(t, lambda x: x / np.log(2), "refuse"),
    "sigmoid": lambda t, r: _both(
        t, lambda x: 1 / (1 + np.exp(-3 - x * np.linspace(0.2, 1, len(x))[:, None])), "refuse"
    ),
    "one head probabilities": lambda t, r: _one_head(t, np.exp, r, "refuse"),
    "one head times 30": lambda t, r: _one_head(t, lambda x: 30 * np.exp(x), r, "refuse"),
    "some rows probabilities": _some_rows_probabilities,
    "nan": lambda t, r: _one_value(t, float("nan"), r),
    "infinite": lambda t, r: _one_value(t, r.choice((1, -1)) * float("inf"), r),
    "a class less": lambda t, r: _one_head(t, lambda x: x[:, :-1], r, "refuse"),
    "a class more": lambda t, r: _one_head(t, lambda x: np.hstack([x, x[:, :1]]), r, "refuse"),
    "a row less": lambda t, r: _one_head(t, lambda x: x[:-1], r, "refuse"),
    "turned round": lambda t, r: _one_head(t, lambda x: x.T, r, "refuse"),
    "one axis more": lambda t, r: _one_head(t, lambda x: x[:, None], r, "refuse"),
    "flat": lambda t, r: _one_head(t, np.ravel, r, "refuse"),
    "heads exchanged": lambda t, r: _with(t, "refuse", verb=t["noun"], noun=t["verb"]),
    "ragged": _ragged,
    "complex": lambda t, r: _one_head(t, lambda x: x + 1j, r, "refuse"),
    "truth values": lambda t, r: _both(t, lambda x: x > -5, "refuse"),
    "text": lambda t, r: _one_head(t, lambda x: np.array([["much"] * x.shape[1]] * len(x)), r, "refuse"),
    "dates": lambda t, r: _one_head(t, lambda x: (-1e6 * x).astype("M8[s]"), r, "refuse"),
    "no rows": lambda t, r: _with(t, "refuse", ids=[], verb=t["verb"][:0], noun=t["noun"][:0]),
    "an id twice": lambda t, r: _with(t, "refuse", ids=[*IDS[:-1], IDS[0]]),
    "an id a number": lambda t, r: _one_id(t, 7, r, "either"),
    "an id of bytes": lambda t, r: _one_id(t, b"P01_101_1", r, "either"),
    "an id of nothing": lambda t, r: _one_id(t, "", r),
    "no id": lambda t, r: _one_id(t, None, r, "either"),
    "an id with a blank": lambda t, r: _one_id(t, lambda name: r.choice((name + " ", " " + name)), r),
    "an id that shows not all": lambda t, r: _one_id(
        t, lambda name: name + r.choice("\u00a0\u200b\ufeff\u00ad\t\n"), r
    ),
    "an id less": lambda t, r: _with(t, "refuse", ids=IDS[:-1]),
    "more keys": lambda t, r: _with(t, "same", more={"clip": 3}),
}


OF_BYTES = (flipped, flipped, flipped_at_an_end, cut, zeroed, taken_out, appended)
