"""Reopening a submission file of any of the three kinds, into the same rows, noting all that is wrong on the way."""

import codecs
import io
import json
import zipfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.errors import PredictionsError, SubmissionError
from epicsub.io.files import check_readable, may_be_file
from epicsub.submission.json_zip import JSON_VERSION, RESULTS
from epicsub.submission.supervision import HIGHEST
from epicsub.text import name_some, sized
from epicsub.unpickle import load_torch
from epicsub.unpickle.unreadable import why_unreadable

KINDS = {"verb": NUM_VERBS, "noun": NUM_NOUNS}
_ITEM_KEYS = ("narration_id", "verb_output", "noun_output")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
LARGEST = 1 << 29
"""Bytes that an entry of the zip may unpack to: four times the test list's scores in full precision."""
_HEAD_KEYS = ("version", "challenge", "sls_pt", "sls_tl", "sls_td")
_CLASSES = {classes: tuple(map(str, range(classes))) for classes in KINDS.values()}


@dataclass
class Reopened:
    """What a file holds, as far as it could be read."""

    readable: bool = False
    """whether it has entries to look at, however wrong they are"""
    ids: list[str] = field(default_factory=list)
    """as they come, duplicates and all"""
    rows: dict[str, list[tuple[str, np.ndarray]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    """verb, noun: (narration id, scores of the right length) of every well-formed row; float32 of a torch file, as
    the organisers would score it, float64 of a JSON"""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    named: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """problem -> the segments that have it"""

    def all_problems(self) -> list[str]:
        """Problems of the file, then those of segments with the segments named.

        Returns:
            A line each.
        """
        return self.problems + [f"{what}: {name_some(names)}" for what, names in self.named.items()]


def reopen(path: Path, challenge: str) -> Reopened:
    """Read submission.pt, or the zip that holds it, or the zip that holds test.json. Never raises for its content.

    Args:
        path: the file.
        challenge: the one that test.json must be for.

    Returns:
        What it holds, as far as it could be read, and what is wrong with it.
    """
    found = Reopened()
    if not may_be_file(path):
        found.problems.append("no such file")
        return found
    try:
        check_readable(path, SubmissionError)
    except SubmissionError as error:
        found.problems.append(str(error).removeprefix(f"{path}: "))
        return found
    if path.suffix.lower() == ".pt":
        _reopen_pt(path, found)
    elif path.suffix.lower() == ".zip":
        _reopen_zip(path, challenge, found)
    else:
        found.problems.append(f"a submission is a .pt or a .zip, not {path.suffix!r}")
    return found


def _reopen_zip(path: Path, challenge: str, found: Reopened) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            chosen = [name for name in ("submission.pt", "test.json") if name in names]
            if len(chosen) != 1 or len(names) != len(set(names)):
                found.problems.append(_what_the_zip_holds(names))
                return
            if others := [name for name in names if name not in chosen]:
                found.warnings.append(f"the zip also holds {name_some(others)}")
            entry = archive.getinfo(chosen[0])
            if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
                how = "encrypted" if entry.flag_bits & _ENCRYPTED else "compressed by another method than deflate"
                found.problems.append(f"{chosen[0]} is {how} in the zip; a plain zip expected")
                return
            if entry.file_size > LARGEST:
                found.problems.append(
                    f"{chosen[0]} unpacks to {sized(entry.file_size)}; a submission has less than {sized(LARGEST)}"
                )
                return
            content = archive.read(entry)
    except Exception as error:  # damage shows up in zipfile, zlib, struct or the text codecs, each in its own way
        says = why_unreadable(path, error, ("zip", "torch", "npz"), "")
        found.problems.append(f"not a whole zip: it {says}; write it again with `epicsub submit`")
        return
    if chosen[0] == "submission.pt":
        _reopen_pt(io.BytesIO(content), found)
    else:
        _reopen_json(content, challenge, found)


def _what_the_zip_holds(names: list[str]) -> str:
    expected = "a submission's zip holds one submission.pt or one test.json at its top"
    if any(name.endswith("/data.pkl") for name in names):
        return f"this is a torch file that was named .zip; {expected}"
    inside = [name for name in names if name.rpartition("/")[2] in ("submission.pt", "test.json") and "/" in name]
    if inside:
        return f"{name_some(inside)} lies in a folder of the zip; {expected}"
    return f"the zip holds {name_some(names) or 'nothing'}; {expected}"


def _reopen_pt(source: Path | io.BytesIO, found: Reopened) -> None:
    try:
        loaded = _load_strictly(source, found)
    except PredictionsError as error:
        found.problems.append(f"not a whole torch file: it {str(error).removeprefix(f'{source}: ')}")
        return
    if not isinstance(loaded, list):
        found.problems.append(f"holds a {type(loaded).__name__}; a list of dicts with {', '.join(_ITEM_KEYS)} expected")
        return
    found.readable = True
    for index, item in enumerate(loaded):
        if not isinstance(item, dict):
            found.named[f"items that are no dict but {type(item).__name__}"].append(f"item {index}")
            continue
        name = item.get("narration_id", f"item {index}")
        if not isinstance(name, str):
            found.named[f"narration_id is a {type(name).__name__}, text expected"].append(f"item {index}")
            name = f"item {index}"
        elif "narration_id" in item:
            found.ids.append(name)
        for key in _ITEM_KEYS:
            if key not in item:
                found.named[f"without {key}"].append(name)
        for kind, classes in KINDS.items():
            if f"{kind}_output" in item:
                _take_tensor(name, kind, classes, item[f"{kind}_output"], found)


def _load_strictly(source: Path | io.BytesIO, found: Reopened) -> Any:
    """What plain `torch.load(..., weights_only=True)` gives, for that is how it may be read at the other end."""
    try:
        return load_torch(source, arrays=False)
    except PredictionsError as error:
        if "holds numpy" not in str(error):
            raise
    loaded = load_torch(source)  # looked at all the same, to say the rest too
    found.problems.append("torch.load(..., weights_only=True) refuses it: it holds numpy objects; write plain tensors")
    return loaded


def _take_tensor(name: str, kind: str, classes: int, value: Any, found: Reopened) -> None:
    import torch  # files without tensors are read without it

    if not isinstance(value, torch.Tensor):
        found.named[f"{kind}_output is a {type(value).__name__}, a torch tensor expected"].append(name)
        value = torch.as_tensor(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else None
        if value is None:
            return
    if value.dtype != torch.float32:
        dtype = str(value.dtype).removeprefix("torch.")
        found.named[f"{kind}_output is {dtype}, float32 expected"].append(name)
    if value.ndim != 1:
        shape = list(value.shape)
        found.named[f"{kind}_output has the shape {shape}, [{classes}] expected"].append(name)
    elif len(value) != classes:
        found.named[f"{kind}_output has {len(value)} values, {classes} expected"].append(name)
    else:
        found.rows[kind].append((name, value.detach().to_dense().float().numpy()))


def _reopen_json(text: bytes, challenge: str, found: Reopened) -> None:
    """Read the text of test.json into `found`; never raises for its content."""
    keys = (*_HEAD_KEYS, RESULTS[challenge])
    twice: list[str] = []

    def take(pairs: list[tuple[str, Any]]) -> Any:
        """An object of the file: scores become an array at once, which keeps memory low."""
        if len(pairs) in _CLASSES:
            names, values = zip(*pairs, strict=True)
            if set(map(type, values)) <= {int, float}:
                scores_C = _scores(names, values)
                if scores_C is not None:
                    return scores_C
        twice.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return dict(pairs)

    if text.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in text[:2]:
        found.problems.append("test.json begins with a byte-order mark, or is UTF-16; write plain UTF-8")
        return
    try:
        content = json.loads(text.decode("utf-8"), object_pairs_hook=take)
    except json.JSONDecodeError as error:
        found.problems.append(f"test.json is not JSON: line {error.lineno}, column {error.colno}")
        return
    except (ValueError, RecursionError):
        found.problems.append("test.json is not JSON: bytes that are no UTF-8, numbers too long, or objects too deep")
        return
    if twice:
        found.problems.append(f"test.json has keys more than once: {name_some(twice)}")
    if not isinstance(content, dict):
        found.problems.append(f"test.json is no object with {', '.join(keys)}")
        return
    _check_head(content, challenge, keys, found)
    results = content.get(keys[-1], {})
    if not isinstance(results, dict):
        found.problems.append(f"{keys[-1]} is no object of narration ids")
        return
    found.readable = True
    for name, entry in results.items():
        found.ids.append(name)
        for kind, classes in KINDS.items():
            _take_scores(name, kind, classes, entry, found)


def _check_head(content: dict[str, Any], challenge: str, keys: tuple[str, ...], found: Reopened) -> None:
    for key in keys:
        if key not in content:
            instead = [other for other in RESULTS.values() if other != key and other in content]
            hint = f"; it has {instead[0]}, which is of another challenge" if key == keys[-1] and instead else ""
            found.problems.append(f"test.json lacks {key}{hint}")
    for key, expected in (("version", JSON_VERSION), ("challenge", challenge)):
        if key in content and content[key] != expected:
            found.problems.append(f"{key} is {content[key]!r}, {expected!r} expected")
    for key in _HEAD_KEYS[2:]:
        if key in content and (type(content[key]) is not int or not 0 <= content[key] <= HIGHEST):
            found.problems.append(f"{key} is {content[key]!r}, a whole number from 0 to {HIGHEST} expected")
    if others := [key for key in content if key not in keys]:
        found.warnings.append(f"test.json also has {name_some(others)}")


def _scores(names: tuple[str, ...], values: tuple[float, ...]) -> np.ndarray | None:
    """Scores by class number, or None if the keys are not "0" to the last class, or a number is beyond any float."""
    expected = _CLASSES[len(names)]
    try:
        if names != expected:
            by_name = dict(zip(names, values, strict=True))
            values = tuple(by_name[name] for name in expected)
        return np.array(values, dtype=np.float64)
    except (KeyError, OverflowError):
        return None


def _take_scores(name: str, kind: str, classes: int, entry: Any, found: Reopened) -> None:
    if not isinstance(entry, dict) or kind not in entry:
        found.named[f"without {kind}"].append(name)
        return
    scores = entry[kind]
    if isinstance(scores, np.ndarray) and len(scores) == classes:
        found.rows[kind].append((name, scores))
    elif isinstance(scores, np.ndarray | dict) and len(scores) != classes:
        found.named[f"{kind} has {len(scores)} classes, {classes} expected"].append(name)
    elif isinstance(scores, dict) and set(scores) == {str(number) for number in range(classes)}:
        found.named[f"{kind} has values that are no numbers"].append(name)
    else:
        found.named[f'{kind} has not the keys "0" to "{classes - 1}"'].append(name)
