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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.campaigns.prediction_faults import FORMS, IDS, OF_BYTES, OF_SCORES, SIZES
from epicsub.errors import EpicsubError
from epicsub.predictions import read_predictions

TOTAL = 2000
MUST_BE_ZERO = ("traceback", "silent", "nameless", "refused_good")


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
