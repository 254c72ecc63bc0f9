"""Good submissions, and good ones changed in one way each: what is good passes, what means something else is refused.

Whether a change means something is decided here, by reading the file as the organisers do and scoring it with their
formula, slowly and whole: it means something if the file cannot be read, is of another form, lacks, repeats or adds
ids, or puts other verbs, nouns or actions among the first five of any segment, or in another order. Scores closer than
`LEVEL` may stand in either order.
"""

import io
import json
import logging
import random
import shutil
import warnings
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.campaigns.submission_faults import (
    HEAD,
    OF_FILES,
    OF_JSON,
    OF_ROWS,
    Draw,
    Made,
    json_of,
    rows_of,
    write_json,
    write_rows,
)
from epicsub.data.annotations import Segment
from epicsub.predictions import Predictions
from epicsub.submission import Levels, check_submission, write_submission

TOTAL = 11_000
MUST_BE_ZERO = ("missed", "refused_good", "crash")
EVERY = 11  # one trial of so many takes a good submission
SETS = 24
LEVEL = 1e-4
LEVELS = Levels(2, 3, 3)
OTHERS = {"EPIC_100_validation.csv": [f"P01_11_{n}" for n in range(40)]}
FILES = ("submission.pt", "submission.zip", "submission_json.zip")
STORY = {"protocol": "ek100", "views": "1x1", "filled_with_prior": {}}
MEMBER = {"name": "a", "kind": "predictions", "sha256": "0" * 64, "weight": 1.0}


def prepare(folder: Path) -> None:
    for number in range(SETS):
        _make(folder / "inputs" / str(number), random.Random(number))


def trial(folder: Path, rng: random.Random, index: int) -> dict[str, str]:
    logging.getLogger("epicsub").setLevel(logging.ERROR)
    if index % EVERY == 0:
        made = _make(folder / "scratch" / "new", rng)
        return _good(made, rng)
    made = _made(folder / "inputs" / str(rng.randrange(SETS)))
    name = rng.choice(FILES)
    path = folder / "scratch" / name
    ways = {"submission.pt": OF_ROWS, "submission.zip": OF_ROWS, "submission_json.zip": OF_JSON}[name]
    if rng.random() < 0.3:
        ways = OF_FILES
    way = rng.choice(ways)
    ids = made.own.narration_ids.tolist()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if ways is OF_FILES:
                path.write_bytes(way((made.folder / name).read_bytes(), rng))
            elif ways is OF_JSON:
                write_json(path, way(json_of(made), Draw(rng, ids)))
            else:
                write_rows(path, way(rows_of(made), Draw(rng, ids)))
    except Exception as error:
        return {"outcome": "unwritable", "detail": f"{name}: {way.__name__}: {error!r}"}
    means = _means_another(path, made.own)
    detail = f"{name}: {way.__name__}: {means or 'the same'}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = check_submission(path, ids, len(ids), own=made.own, other_lists=OTHERS, segments=made.segments)
    except Exception as error:
        return {"outcome": "crash", "detail": f"{detail}: {error!r}"}
    said = "; ".join(found.problems)[:300]
    if means:
        return {"outcome": "caught" if found.problems else "missed", "detail": f"{detail}: {said}"}
    return {"outcome": "harmless, refused" if found.problems else "harmless", "detail": f"{detail}: {said}"}


def figures(counts: dict[str, int]) -> dict[str, int]:
    names = {"missed": "missed", "refused_good": "refused_good", "crash": "crashed", "good": "good", "caught": "caught"}
    harmless = counts["harmless"] + counts["harmless, refused"]
    return {
        "submission_total": sum(counts.values()),
        **{f"submission_{figure}": counts[name] for name, figure in names.items()},
        "submission_harmless": harmless,
        "submission_harmless_refused": counts["harmless, refused"],
    }


# Good ones


def _make(folder: Path, rng: random.Random) -> Made:
    """A submission as `submit` writes it: of any model, with clips that are the same, or segments that were filled."""
    chance = np.random.default_rng(rng.randrange(1 << 32))
    count = rng.choice((2, 3, 5, 8, 13))
    ids = [f"P{rng.randrange(1, 38):02d}_1{rng.randrange(1, 30):02d}_{number}" for number in range(count)]
    spread = rng.choice((0.05, 0.5, 1.0, 3.0, 8.0, 40.0))
    scores = [chance.normal(0, spread, (count, size)) for size in (97, 300)]
    kind = rng.randrange(4)
    if kind == 1:  # sure of itself
        scores = [np.where(table == table.max(axis=1, keepdims=True), table + 30, table) for table in scores]
    if kind == 2:  # one clip in two overlapping segments
        ids[1] = f"{ids[0].rpartition('_')[0]}_{count + 7}"
        for table in scores:
            table[1] = table[0]
    own = Predictions.from_scores(ids, *(table - np.abs(table).max() - 1 for table in scores))
    filled = {}
    if kind == 3:  # the prior in two places
        tables = [getattr(own, f"{head}_logprobs").copy() for head in ("verb", "noun")]
        for table in tables:
            table[1] = table[0]
        own, filled = Predictions(own.narration_ids, *tables), {"a": ids[:2]}
    times = {name: (10.0 * number, 10.0 * number + 4) for number, name in enumerate(ids)}
    if kind == 2:
        times[ids[1]] = (1.0, 3.0)
    segments = [Segment(name, name[:3], name.rpartition("_")[0], *times[name], 1, 2, None, None) for name in ids]
    shutil.rmtree(folder, ignore_errors=True)
    story = {**STORY, "filled_with_prior": filled, "members": [MEMBER]}
    written = write_submission(folder, own, ids, count, LEVELS, story)
    if kind != 3:  # the manifest knows the good content, and which segments were filled
        written.manifest.unlink()
    content = {"ids": ids, "times": times}
    (folder / "segments.json").write_text(json.dumps(content))
    np.savez(folder / "own.npz", verb=own.verb_logprobs, noun=own.noun_logprobs)
    return Made(folder, own, segments)


@cache
def _made(folder: Path) -> Made:
    content = json.loads((folder / "segments.json").read_text())
    with np.load(folder / "own.npz") as tables:
        own = Predictions(np.array(content["ids"]), tables["verb"], tables["noun"])
    segments = [
        Segment(name, name[:3], name.rpartition("_")[0], *content["times"][name], 1, 2, None, None)
        for name in content["ids"]
    ]
    return Made(folder, own, segments)


def _good(made: Made, rng: random.Random) -> dict[str, str]:
    ids = made.own.narration_ids.tolist()
    if not (made.folder / "manifest.json").exists():
        _rewrite(made.folder, rng)
    for name in FILES:
        means = _means_another(made.folder / name, made.own)
        if means:
            return {"outcome": "error", "detail": f"{name}: the campaign's own reader finds {means}"}
        for own in (made.own, None):
            try:
                found = check_submission(
                    made.folder / name, ids, len(ids), own=own, other_lists=OTHERS, segments=made.segments
                )
            except Exception as error:
                return {"outcome": "crash", "detail": f"good {name}: {error!r}"}
            if found.problems:
                return {"outcome": "refused_good", "detail": f"{name}: {'; '.join(found.problems)[:500]}"}
    return {"outcome": "good", "detail": f"{len(ids)} segments"}


def _rewrite(folder: Path, rng: random.Random) -> None:
    """Write a good submission as other programs do: other compression, order of ids and classes, spaces, digits."""
    with zipfile.ZipFile(folder / "submission_json.zip") as archive:
        content = json.loads(archive.read("test.json"))
    entries = list(content["results"].items())
    rng.shuffle(entries)
    content["results"] = {
        name: {head: dict(rng.sample(list(scores.items()), len(scores))) for head, scores in entry.items()}
        for name, entry in entries
    }
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(folder / "submission_json.zip", "w", packing) as archive:
        archive.writestr("test.json", json.dumps(content, indent=rng.choice((None, 1))))
    rows = torch.load(folder / "submission.pt", weights_only=True)
    rng.shuffle(rows)
    legacy = rng.random() < 0.3
    torch.save(
        [{key: row[key] for key in rng.sample(list(row), 3)} for row in rows],
        folder / "submission.pt",
        _use_new_zipfile_serialization=not legacy,
    )
    with zipfile.ZipFile(folder / "submission.zip", "w", packing) as archive:
        archive.write(folder / "submission.pt", "submission.pt")


# What a file means


def _means_another(path: Path, own: Predictions) -> str:
    """Why a file is not the submission that it was; empty where it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ids, verb, noun = _read(path)
    except Exception as error:
        return f"cannot be read ({type(error).__name__}: {str(error)[:80]})"
    if sorted(ids) != sorted(own.narration_ids.tolist()):
        return "other ids"
    if not (np.isfinite(verb).all() and np.isfinite(noun).all()):
        return "scores that are not finite"
    meant = own.select(ids)
    for place in range(len(ids)):
        if other := _ranks_otherwise(verb, noun, place, meant):
            return f"{ids[place]}: {other}"
    return ""


def _read(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    if path.suffix == ".pt":
        return _of_rows(torch.load(path, weights_only=True))
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name in ("submission.pt", "test.json")]
        if len(names) != 1:
            raise ValueError(f"holds {archive.namelist()}")
        content = archive.read(names[0])
    if names[0] == "submission.pt":
        return _of_rows(torch.load(io.BytesIO(content), weights_only=True))
    return _of_json(json.loads(content.decode("utf-8"), object_pairs_hook=_once))


def _of_rows(rows: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TypeError("not a list of dicts")
    for row in rows:
        if type(row["narration_id"]) is not str:
            raise TypeError("an id that is no text")
        for key, size in (("verb_output", 97), ("noun_output", 300)):
            if not isinstance(row[key], torch.Tensor) or row[key].dtype != torch.float32 or row[key].shape != (size,):
                raise TypeError(f"{key} is no float32 tensor of {size}")
    ids = [row["narration_id"] for row in rows]
    tables = (
        np.stack([row[key].detach().to_dense().numpy() for row in rows]) for key in ("verb_output", "noun_output")
    )
    return ids, *tables  # type: ignore[return-value]


def _of_json(content: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    for key, value in HEAD.items():
        if type(content[key]) is not type(value) or content[key] != value:
            raise ValueError(f"{key} is {content[key]!r}")
    ids = list(content["results"])
    tables = []
    for kind, size in (("verb", 97), ("noun", 300)):
        names = [str(number) for number in range(size)]
        for name in ids:
            scores = content["results"][name][kind]
            if set(scores) != set(names) or not all(type(score) in (int, float) for score in scores.values()):
                raise ValueError(f"{kind} scores of {name}")
        tables.append(np.array([[float(content["results"][name][kind][one]) for one in names] for name in ids]))
    return ids, tables[0], tables[1]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _ranks_otherwise(verb: np.ndarray, noun: np.ndarray, place: int, meant: Predictions) -> str:
    """By the organisers' formula: one softmax over all rows, every product of a segment, a full sort."""
    shares = [np.exp(table - table.max()) / np.exp(table - table.max()).sum() for table in (verb, noun)]
    own = [table[place].astype(float) for table in (meant.verb_logprobs, meant.noun_logprobs)]
    floor = np.log(1e-12)
    own = [np.maximum(table, floor) for table in own]
    for name, table, logs in (("verbs", verb, own[0]), ("nouns", noun, own[1])):
        got = np.argsort(table[place], kind="stable")[::-1][:5]
        if np.abs(logs[got] - np.sort(logs)[::-1][:5]).max() > LEVEL:
            return f"other {name}"
    nouns = np.argsort(noun[place], kind="stable")[::-1][:100]
    products = (shares[0][place][:, None] * shares[1][place][nouns]).ravel()
    order = np.argsort(products, kind="stable")[::-1][:5]
    got = own[0][order // 100] + own[1][nouns[order % 100]]
    best = np.sort((own[0][:, None] + own[1]).ravel())[::-1][:5]
    return "other actions" if np.abs(got - best).max() > LEVEL or products[order].min() <= 0 else ""
