"""Files of predictions in every format that is read, changed in one way each: read as they stand, or refused by name.

A change of the content says itself what must come of it: the very predictions (`same`), or a refusal. Where bytes are
changed, the file is read once more by a plain reader of its format: numpy, json, or an unpickler and torch's loader of
few names. What that reader finds, turned into log-probabilities by hand, is what epicsub must find.
"""

import io
import json
import logging
import pickle
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.campaigns.byte_faults import appended, cut, flipped, flipped_at_an_end, taken_out, zeroed
from epicsub.errors import EpicsubError
from epicsub.predictions import read_predictions

TOTAL = 2000
MUST_BE_ZERO = ("traceback", "silent", "nameless", "refused_good")
IDS = ["P01_101_0", "P01_101_1", "P01_101_10", "P22_117_3", "P22_117_4"]
SIZES = {"verb": 97, "noun": 300}
Table = dict[str, Any]


def prepare(folder: Path) -> None:
    rng = np.random.default_rng(0)
    tables = {kind: _log_softmax(rng.normal(0, 3, (len(IDS), size))) for kind, size in SIZES.items()}
    (folder / "inputs").mkdir(exist_ok=True)
    np.savez(folder / "inputs" / "good.npz", **tables)


def trial(folder: Path, rng: random.Random, index: int) -> dict[str, str]:
    with np.load(folder / "inputs" / "good.npz") as good:
        scores = {kind: good[kind] for kind in SIZES}
    way, bytewise = rng.choice(list(OF_SCORES)), rng.random() < 0.4
    table, expect = (
        ({"ids": list(IDS), **scores}, "same") if bytewise else OF_SCORES[way]({"ids": list(IDS), **scores}, rng)
    )
    form = rng.choice(list(FORMS))
    if way == "complex" and ("16" in form or form == "npz, own"):  # written as real numbers there
        expect = "either"
    if expect == "own_or_same":  # epicsub's own format holds log-probabilities and nothing else
        expect = "refuse" if form == "npz, own" else "same"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            suffix, content = FORMS[form](table, rng)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError):
        return {"outcome": "unwritable", "detail": f"{form}: {way}"}  # this form cannot hold it
    detail = f"{form}: {way}"
    if bytewise:
        change = rng.choice(OF_BYTES)
        content, detail = change(content, rng), f"{form}: {change.__name__}"
    path = folder / "scratch" / f"x{suffix}"
    path.write_bytes(content)
    logging.getLogger("epicsub").setLevel(logging.ERROR)
    wanted = _plainly(path) if bytewise else (IDS, scores) if expect == "same" else None
    rough = "16" in form  # half precision holds neither small probabilities nor many digits
    outcome, said = _outcome(path, wanted, 0.3 if rough else 2e-3, -8.0 if rough else np.log(1e-12))
    if expect == "either" and outcome in ("silent", "refused", "right"):
        outcome = "refused" if said else "right"
    if bytewise and outcome == "refused_good":  # what is damaged may also be refused
        outcome = "refused"
    return {"outcome": outcome, "detail": f"{detail}: {said[:400]}"}


def figures(counts: dict[str, int]) -> dict[str, int]:
    names = ("traceback", "silent", "nameless", "refused_good", "right", "refused", "unwritable")
    return {"predictions_total": sum(counts.values()), **{f"predictions_{name}": counts[name] for name in names}}


def _outcome(  # noqa: PLR0911  # one outcome each
    path: Path, wanted: Any, atol: float, lowest: float
) -> tuple[str, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = read_predictions(path)
    except EpicsubError as error:
        said = str(error)
        if str(path) not in said:
            return "nameless", said
        return ("refused" if wanted is None else "refused_good"), said
    except Exception as error:
        return "traceback", repr(error)
    if wanted is None:
        return "silent", "read, where it should have been refused"
    ids, scores = wanted
    if sorted(got.narration_ids.tolist()) != sorted(ids):
        return "silent", f"ids {got.narration_ids.tolist()}, not {ids}"
    chosen = got.select(ids)
    for kind in SIZES:
        apart = np.abs(np.maximum(getattr(chosen, f"{kind}_logprobs"), lowest) - np.maximum(scores[kind], lowest)).max()
        if not apart <= atol:
            return "silent", f"{kind} scores {apart:.3g} off"
    return "right", ""


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores - scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


# A plain reader


class _Plain(pickle.Unpickler):
    PACKAGES = ("numpy", "pandas", "torch", "builtins", "__builtin__", "collections", "_codecs")
    NAMES = (
        "_reconstruct",
        "ndarray",
        "dtype",
        "scalar",
        "_frombuffer",
        "DataFrame",
        "Index",
        "RangeIndex",
        "BlockManager",
        "_unpickle_block",
        "__pyx_unpickle_NDArrayBacked",
        "slice",
        "_new_Index",
        "StringDtype",
        "StringArray",
        "encode",
        "_rebuild_tensor_v2",
        "OrderedDict",
        "Series",
        "SingleBlockManager",
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return lambda data: torch.load(io.BytesIO(data), weights_only=True)
        if name not in self.NAMES or module.partition(".")[0] not in self.PACKAGES:
            raise pickle.UnpicklingError(name)
        return super().find_class(module, name)


def _plainly(path: Path) -> tuple[list[str], dict[str, np.ndarray]] | None:
    """Ids and log-probabilities of a file, or None where a plain reader fails or finds no predictions."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _as_predictions(_loaded(path))
    except Exception:
        return None


def _loaded(path: Path) -> Any:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    if path.suffix == ".pkl":
        with open(path, "rb") as handle:
            return _Plain(handle, encoding="latin1").load()
    names = [np.dtype, np.ndarray, np._core.multiarray._reconstruct, np._core.multiarray.scalar]
    with torch.serialization.safe_globals([*names, *(type(np.dtype(code)) for code in ("f4", "f8", "U1", "O"))]):
        return torch.load(path, weights_only=True)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def _as_predictions(loaded: Any) -> tuple[list[str], dict[str, np.ndarray]]:
    if isinstance(loaded, pd.DataFrame):
        loaded = loaded.reset_index() if loaded.index.name == "narration_id" else loaded
        loaded = {name: loaded[name].tolist() for name in loaded.columns}
    if (
        isinstance(loaded, dict)
        and len({"results", "results_target"} & set(loaded)) == 1
        and "verb_output" not in loaded
    ):
        rows = loaded.get("results", loaded.get("results_target"))
        names = {kind: [str(number) for number in range(size)] for kind, size in SIZES.items()}
        if any(set(row[kind]) != set(names[kind]) for row in rows.values() for kind in SIZES):
            raise ValueError
        loaded = {"narration_id": list(rows)}
        for kind in SIZES:
            loaded[f"{kind}_output"] = [[_plain_number(row[kind][one]) for one in names[kind]] for row in rows.values()]
    if isinstance(loaded, list):
        loaded = {key: [row[key] for row in loaded] for key in ("narration_id", "verb_output", "noun_output")}
    own = "narration_ids" in loaded and "verb_logprobs" in loaded
    ids = [
        one.item() if isinstance(one, np.ndarray) else one for one in loaded["narration_ids" if own else "narration_id"]
    ]
    if not all(isinstance(one, str) for one in ids) or len(set(ids)) < len(ids) or not ids:
        raise ValueError
    if not all(one.isprintable() and one.strip() == one and one for one in ids):
        raise ValueError
    ids = [str(one) for one in ids]
    tables = {}
    for kind, size in SIZES.items():
        value = loaded[f"{kind}_logprobs" if own else f"{kind}_output"]
        rows = [np.asarray(row.detach().float() if hasattr(row, "detach") else row) for row in value]
        if any(row.dtype.kind not in "fiu" for row in rows) or (own and any(row.dtype != np.float32 for row in rows)):
            raise ValueError
        table = np.stack(rows).astype(np.float64)
        if table.shape != (len(ids), size) or not np.isfinite(table).all():
            raise ValueError
        if own and np.abs(np.log(np.exp(table).sum(axis=1))).max() > 1e-3:
            raise ValueError
        tables[kind] = table
    return ids, {kind: _log_softmax(table) for kind, table in tables.items()}


def _plain_number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError
    return float(value)


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
