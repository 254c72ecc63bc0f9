"""Predictions: what a model says about each segment, joined on narration id. torch lies before it, numpy after.

Letters in names and comments: N segments, V = 97 verbs, M = 300 nouns.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.errors import PredictionsError
from epicsub.io import atomic_write, is_stream, user_path
from epicsub.io.files import os_reason
from epicsub.predictions.foreign import PROBABILITY_FLOOR, log_sum, read_scores, to_logprobs
from epicsub.text import invisible_in, name_some, others_than
from epicsub.unpickle import load_npz, load_pickle, load_torch

__all__ = ["PROBABILITY_FLOOR", "Predictions", "read_predictions", "save_predictions", "write_organisers_list"]

log = logging.getLogger(__name__)

_ROW = (("verb", NUM_VERBS), ("noun", NUM_NOUNS))
_OWN_KEYS = ("narration_ids", "verb_logprobs", "noun_logprobs")
_ORGANISERS_KEYS = ("narration_id", "verb_output", "noun_output")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Log-probabilities of the verbs and nouns of N segments.

    Raises:
        PredictionsError: wrong shapes, class counts or types, values that are not finite, narration ids that occur
            twice, or rows whose probabilities do not sum to one; every problem at once.
    """

    narration_ids: np.ndarray
    """(N,) str, each once"""
    verb_logprobs: np.ndarray
    """(N, 97) float32, natural logarithm"""
    noun_logprobs: np.ndarray
    """(N, 300) float32, natural logarithm"""

    def __post_init__(self) -> None:
        tables = {"verb": self.verb_logprobs, "noun": self.noun_logprobs}
        problems = _problems_of_ids(self.narration_ids) or _problems_of_tables(self.narration_ids, tables)
        if not problems:
            for kind, table in tables.items():
                if table.dtype != np.float32:
                    problems.append(f"{kind} log-probabilities are {table.dtype}, float32 expected")
                if (off := np.abs(log_sum(table)) > 1e-3).any():
                    named = name_some(self.narration_ids[off])
                    problems.append(f"{kind} rows whose probabilities do not sum to 1, as they must: {named}")
        if problems:
            raise PredictionsError("\n".join(problems))

    @staticmethod
    def from_scores(
        narration_ids: Sequence[str] | np.ndarray, verb: Any, noun: Any, where: str = "scores"
    ) -> "Predictions":
        """Take logits, log-probabilities or probabilities.

        Rows that are nowhere negative and sum to one, or all to one number, are probabilities (made to sum to one
        exactly, then floored at `PROBABILITY_FLOOR`; another number than one is logged); any other row gets a
        log-softmax, which leaves log-probabilities as they are.

        Args:
            narration_ids: (N,) str.
            verb: (N, 97) scores.
            noun: (N, 300) scores.
            where: they come from, for what is logged.

        Returns:
            Log-probabilities.

        Raises:
            PredictionsError: as the class, or scores of two kinds, or of none that can be told; see `to_logprobs`.
        """
        ids = np.array([str(name) for name in narration_ids], dtype=np.str_)
        tables = {"verb": _as_floats(verb, "verb"), "noun": _as_floats(noun, "noun")}
        problems = _problems_of_ids(ids) or _problems_of_tables(ids, tables)
        if problems:
            raise PredictionsError("\n".join(problems))
        logprobs, note = to_logprobs(tables)
        if note:
            log.warning("%s: %s", where, note)
        return Predictions(ids, *(logprobs[kind].astype(np.float32) for kind, _ in _ROW))

    def __len__(self) -> int:
        return len(self.narration_ids)

    def select(self, narration_ids: Sequence[str] | np.ndarray) -> "Predictions":
        """Select segments.

        Args:
            narration_ids: which, in order.

        Returns:
            Predictions of these segments.

        Raises:
            PredictionsError: some have none here (the first ten and how many), or are asked for twice.
        """
        rows = {name: row for row, name in enumerate(self.narration_ids.tolist())}
        missing = [name for name in narration_ids if name not in rows]
        if missing:
            what = f"{len(missing)} of {len(narration_ids)} segments"
            others = others_than(self.narration_ids.tolist(), narration_ids)
            raise PredictionsError(
                f"no predictions for {what}: {name_some(missing)}{others}; give those of the whole list"
            )
        order = np.array([rows[name] for name in narration_ids], dtype=np.intp)
        return Predictions(self.narration_ids[order], self.verb_logprobs[order], self.noun_logprobs[order])


def save_predictions(predictions: Predictions, path: Path) -> None:
    """Write `.npz` (epicsub's own) or `.pt` (the organisers' list of dicts, float32 tensors), whole or not at all.

    Args:
        predictions: N segments.
        path: `.npz` or `.pt`; what is no file and has no suffix, such as `-` or /dev/stdout, gets the former.

    Raises:
        PredictionsError: another suffix, or the place cannot be written.
    """
    path = user_path(path)
    suffix = path.suffix.lower() or (".npz" if is_stream(path) else "")
    if suffix not in (".npz", ".pt"):
        raise PredictionsError(f"{path}: expected .npz or .pt for predictions, not {path.suffix!r}; name one")
    try:
        with atomic_write(path) as temporary:
            if suffix == ".pt":
                write_organisers_list(predictions, temporary)
            else:
                with open(temporary, "wb") as handle:  # given a path, numpy would add a suffix that it lacks
                    np.savez(handle, **{key: getattr(predictions, key) for key in _OWN_KEYS})
    except OSError as error:
        raise PredictionsError(f"{path}: cannot be written: {os_reason(error)}") from error


def read_predictions(path: Path) -> Predictions:
    """Read `.npz` (epicsub's own), `.pt`, `.pkl` (the organisers' list of dicts, or dict of arrays) or `.json`.

    A `.json` is laid out as the organisers' test.json, of their classes or of MM-SADA's eight verbs (`foreign`).

    Nothing in the file is run: a `.pt` is read with `weights_only=True`, a `.pkl` by an unpickler that admits numpy,
    pandas and torch containers only.

    Args:
        path: the file.

    Returns:
        The predictions that it holds.

    Raises:
        PredictionsError: not such a file, or its content is not what `Predictions` takes; names the file.
    """
    path = user_path(path)
    path = user_path(path)
    readers: dict[str, Callable[[Path], object]] = {".npz": load_npz, ".pt": load_torch, ".pkl": load_pickle}
    readers[".json"] = read_scores
    if path.suffix.lower() not in readers:
        raise PredictionsError(f"{path}: predictions are read from {', '.join(readers)}, not {path.suffix!r}; name one")
    if not path.is_file():
        raise PredictionsError(f"{path}: no such file; name one that `epicsub predict` wrote")
    loaded = readers[path.suffix.lower()](path)
    try:
        return _from_loaded(loaded, str(path))
    except PredictionsError as error:
        raise PredictionsError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def write_organisers_list(predictions: Predictions, path: Path) -> None:
    """Write the organisers' list of {narration_id, verb_output [97], noun_output [300]} to `path`, as it stands.

    The rows are views of two tensors, so the file holds two storages, not 2 N. Same predictions, same bytes.

    Args:
        predictions: N segments.
        path: the file, written as it stands.
    """
    import torch  # predictions are made of numpy alone, and .npz needs no torch

    verb_NV = torch.from_numpy(np.ascontiguousarray(predictions.verb_logprobs))
    noun_NM = torch.from_numpy(np.ascontiguousarray(predictions.noun_logprobs))
    columns = (predictions.narration_ids.tolist(), verb_NV, noun_NM)
    rows = [dict(zip(_ORGANISERS_KEYS, row, strict=True)) for row in zip(*columns, strict=True)]
    # Through a handle: given a path, torch writes the file's name into the file.
    with open(path, "wb") as handle:
        torch.save(rows, handle)


def _from_loaded(loaded: Any, where: str) -> Predictions:
    expected = f"expected a list of dicts, or a dict, with {', '.join(_ORGANISERS_KEYS)}"
    if hasattr(loaded, "columns"):  # a pandas DataFrame, without importing pandas for files that hold none
        if loaded.index.name == _ORGANISERS_KEYS[0]:
            loaded = loaded.reset_index()
        loaded = {str(name): loaded[name].tolist() for name in loaded.columns}
    if isinstance(loaded, list):
        return _from_list(loaded, expected, where)
    if not isinstance(loaded, Mapping):
        raise PredictionsError(f"not predictions: holds a {type(loaded).__name__}; {expected}")
    if all(key in loaded for key in _OWN_KEYS):
        ids, verb, noun = (loaded[key] for key in _OWN_KEYS)
        return Predictions(np.asarray(ids), np.asarray(verb), np.asarray(noun))
    if all(key in loaded for key in _ORGANISERS_KEYS):
        ids, verb, noun = (loaded[key] for key in _ORGANISERS_KEYS)
        return Predictions.from_scores(_as_names(ids), verb, noun, where)
    keys = name_some([repr(key) for key in loaded]) or "nothing"
    raise PredictionsError(f"not predictions: a dict that holds {keys}; {expected}")


def _from_list(items: list[Any], expected: str, where: str) -> Predictions:
    if not items:
        raise PredictionsError(f"not predictions: an empty list; {expected}")
    wrong = [
        f"item {index} is a {type(item).__name__}"
        if not isinstance(item, Mapping)
        else f"item {index} lacks {', '.join(key for key in _ORGANISERS_KEYS if key not in item)}"
        for index, item in enumerate(items)
        if not isinstance(item, Mapping) or any(key not in item for key in _ORGANISERS_KEYS)
    ]
    if wrong:
        raise PredictionsError(f"not predictions: {name_some(wrong)}; {expected}")
    ids = _as_names([item["narration_id"] for item in items])
    verb, noun = ([_as_floats(item[key], key) for item in items] for key in _ORGANISERS_KEYS[1:])
    problems = _problems_of_rows(ids, {"verb": verb, "noun": noun})
    if problems:
        raise PredictionsError("\n".join(problems))
    return Predictions.from_scores(ids, np.stack(verb), np.stack(noun), where)


def _as_names(values: Any) -> list[str]:
    names = [value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value for value in values]
    wrong = sorted({type(name).__name__ for name in names if not isinstance(name, str)})
    if wrong:
        raise PredictionsError(f"narration ids are {', '.join(wrong)}, text expected (such as P01_101_1)")
    return [str(name) for name in names]


def _as_floats(values: Any, what: str) -> np.ndarray:
    try:
        if hasattr(values, "detach"):  # a torch tensor, without importing torch; bfloat16 has no numpy type
            values = values.detach().to_dense()
            values = (values if values.is_complex() else values.float()).numpy()
        if not isinstance(values, np.ndarray) and _nested_deeper_than(values, 2):
            raise TypeError
        array = np.asarray(values)
        if array.dtype.kind not in "fiubO":  # numpy makes numbers of dates, imaginary parts and text without a word
            raise TypeError
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise PredictionsError(
            f"{what}: a {type(values).__name__} that is not an array of numbers; write floats (segments, classes)"
        ) from error


def _nested_deeper_than(values: Any, depth: int) -> bool:
    """Whether lists lie in each other deeper: they may hold each other many times, and never come to an end."""
    if not isinstance(values, list | tuple):
        return False
    return depth == 0 or any(_nested_deeper_than(value, depth - 1) for value in values)


def _problems_of_ids(ids: np.ndarray) -> list[str]:
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.dtype.kind != "U":
        return ["narration_ids must be a one-dimensional numpy array of text"]
    if len(ids) == 0:
        return ["narration_ids must name a segment at least, there is none"]
    twice = [name for name, count in Counter(ids.tolist()).items() if count > 1]
    problems = [f"narration ids that occur more than once, keep each once: {name_some(twice)}"] if twice else []
    unseen = [f"{name!r}: {', '.join(found)}" for name in ids.tolist() if (found := invisible_in(name)) or not name]
    return problems + (
        [f"narration ids with characters that do not show: {name_some(unseen)}; take them out"] if unseen else []
    )


def _problems_of_tables(ids: np.ndarray, tables: Mapping[str, np.ndarray]) -> list[str]:
    problems = []
    for kind, classes in _ROW:
        table = tables[kind]
        if table.ndim != 2:
            problems.append(f"{kind} scores have shape {table.shape}, (segments, {classes}) expected")
        elif table.shape[1] != classes:
            problems.append(f"{table.shape[1]} {kind} classes, {classes} expected")
        elif table.shape[0] != len(ids):
            problems.append(f"{table.shape[0]} rows of {kind} scores for {len(ids)} narration ids, expected one each")
        elif not (finite := np.isfinite(table).all(axis=1)).all():
            problems.append(f"{kind} scores that are not finite, as they must be: {name_some(ids[~finite])}")
    return problems


def _problems_of_rows(ids: Sequence[str], rows: Mapping[str, Sequence[np.ndarray]]) -> list[str]:
    problems = []
    for kind, classes in _ROW:
        wrong = {name: row.shape for name, row in zip(ids, rows[kind], strict=True) if row.shape != (classes,)}
        shapes = set(wrong.values())
        if len(wrong) == len(ids) and len(shapes) == 1 and len(shape := next(iter(shapes))) == 1:
            problems.append(f"{shape[0]} {kind} classes, {classes} expected")
        elif wrong:
            named = name_some(f"{name} {shape}" for name, shape in wrong.items())
            problems.append(f"{kind}_output that has not the expected shape ({classes},): {named}")
    return problems
