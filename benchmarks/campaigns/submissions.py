"""Good submissions, and good ones changed in one way each: what is good passes, what means something else is refused.

Whether a change means something is decided here, by reading the file as the organisers do and scoring it with their
formula, slowly and whole: it means something if the file cannot be read, is of another form, lacks, repeats or adds
ids, or puts other verbs, nouns or actions among the first five of any segment, or in another order. Scores closer than
`LEVEL` may stand in either order.
"""

import copy
import io
import json
import logging
import random
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

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
HEAD = {"version": "0.2", "challenge": "action_recognition", "sls_pt": 2, "sls_tl": 3, "sls_td": 3}
STORY = {"protocol": "ek100", "views": "1x1", "filled_with_prior": {}}
MEMBER = {"name": "a", "kind": "predictions", "sha256": "0" * 64, "weight": 1.0}


class Made(NamedTuple):
    """A good submission."""

    folder: Path
    own: Predictions
    segments: list[Segment]


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
                _write_json(path, way(_json_of(made), Draw(rng, ids)))
            else:
                _write_rows(path, way(_rows_of(made), Draw(rng, ids)))
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


# Ways to change rows, the JSON, and the bytes of a file


class Draw:
    """A place in a submission."""

    def __init__(self, rng: random.Random, ids: list[str]) -> None:
        self.rng, self.ids = rng, ids
        self.row, self.other = rng.sample(range(len(ids)), 2)
        self.id, self.other_id = ids[self.row], ids[self.other]
        self.kind = rng.choice(("verb", "noun"))
        self.key, self.size = f"{self.kind}_output", {"verb": 97, "noun": 300}[self.kind]
        self.place, self.second = rng.sample(range(self.size), 2)


def _rows_of(made: Made) -> list[dict[str, Any]]:
    rows = torch.load(made.folder / "submission.pt", weights_only=True)
    return [{key: value.clone() if key != "narration_id" else value for key, value in row.items()} for row in rows]


def _json_of(made: Made) -> dict[str, Any]:
    with zipfile.ZipFile(made.folder / "submission_json.zip") as archive:
        return json.loads(archive.read("test.json"))


def _write_rows(path: Path, rows: Any) -> None:
    held = io.BytesIO()
    torch.save(rows, held)
    if path.suffix == ".pt":
        path.write_bytes(held.getvalue())
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("submission.pt", held.getvalue())


def _write_json(path: Path, content: Any) -> None:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("test.json", text)


def _scores_changed(scores: np.ndarray, draw: Draw) -> np.ndarray:  # noqa: PLR0912  # a branch per way
    """One row's scores, (C,) floats, changed so that it may or may not rank otherwise."""
    rng, scores = draw.rng, scores.copy()
    best = np.argsort(-scores)
    way = rng.randrange(16)
    if way == 0:
        scores[draw.place] = rng.choice((float("nan"), float("inf"), -float("inf")))
    elif way == 1:
        scores[:] = rng.choice((0.0, -4.0, scores[0]))
    elif way == 2:
        first, second = best[rng.randrange(6)], best[rng.randrange(6)]
        scores[[first, second]] = scores[[second, first]]
    elif way == 3:
        scores[draw.place] += rng.choice((-3, -0.01, 1e-7, 0.01, 3, 50))
    elif way == 4:
        scores = scores[rng.sample(range(len(scores)), len(scores))]
    elif way == 5:
        scores = np.roll(scores, rng.choice((1, -1, 5)))
    elif way == 6:
        scores = scores[::-1].copy()
    elif way == 7:
        scores -= rng.choice((1e-6, 1.0, 50.0, 200.0, 1e6))
    elif way == 8:
        scores = np.exp(scores)
    elif way == 9:
        scores *= rng.choice((-1, 0.5, 2, 30, 1e-6, 1e30))
    elif way == 10:
        scores = np.round(scores, rng.choice((0, 1, 2, 3)))
    elif way == 11:
        scores[best[: rng.choice((1, 2, 6))]] = scores[best[-1]]
    elif way == 12:
        scores[draw.place] = scores[best[0]]
    elif way == 13:
        scores = np.maximum(scores, scores[best[rng.choice((2, 4, 6, 20))]])
    elif way == 14:
        scores[best[-1]] = 1e38 if rng.random() < 0.5 else -1e38
    else:
        scores = scores.astype(np.float16).astype(scores.dtype)
    return scores


def scores_of_rows(rows: list[dict[str, Any]], draw: Draw) -> Any:
    chosen = rows if draw.rng.random() < 0.3 else [rows[draw.row]]
    for row in chosen:
        row[draw.key] = torch.from_numpy(_scores_changed(row[draw.key].numpy(), draw))
    return rows


def rows_exchanged(rows: list[dict[str, Any]], draw: Draw) -> Any:
    keys = draw.rng.choice((["verb_output"], ["noun_output"], ["verb_output", "noun_output"]))
    for key in keys:
        rows[draw.row][key], rows[draw.other][key] = rows[draw.other][key], rows[draw.row][key]
    return rows


def row_copied(rows: list[dict[str, Any]], draw: Draw) -> Any:
    for key in ("verb_output", "noun_output"):
        rows[draw.row][key] = rows[draw.other][key]
    return rows


def all_rows_alike(rows: list[dict[str, Any]], draw: Draw) -> Any:
    return [{**rows[draw.row], "narration_id": row["narration_id"]} for row in rows]


def row_away(rows: list[dict[str, Any]], draw: Draw) -> Any:
    del rows[draw.row]
    return rows


def row_twice(rows: list[dict[str, Any]], draw: Draw) -> Any:
    return [*rows, copy.copy(rows[draw.row])]


def row_more(rows: list[dict[str, Any]], draw: Draw) -> Any:
    return [*rows, {**rows[draw.row], "narration_id": draw.rng.choice(("P99_199_1", "P01_11_3", ""))}]


def id_changed(rows: list[dict[str, Any]], draw: Draw) -> Any:
    rows[draw.row]["narration_id"] = _other_name(draw)
    return rows


def _other_name(draw: Draw) -> Any:
    name = draw.id
    return draw.rng.choice(
        (
            name + " ",
            " " + name,
            name + "\u00a0",
            name + "\u200b",
            name.lower(),
            name[:-1],
            name + "0",
            draw.other_id,
            name.replace("_", "-"),
            "P01_11_3",
            7,
            None,
            name.encode(),
            "",
            f"\ufeff{name}",
        )
    )


def ids_all_changed(rows: list[dict[str, Any]], draw: Draw) -> Any:
    names = list(draw.ids)
    draw.rng.shuffle(names)
    if draw.rng.random() < 0.5:
        names = [f"P01_11_{number}" for number in range(len(rows))]
    return [{**row, "narration_id": name} for row, name in zip(rows, names, strict=True)]


def key_away(rows: list[dict[str, Any]], draw: Draw) -> Any:
    del rows[draw.row][draw.rng.choice(("narration_id", "verb_output", "noun_output"))]
    return rows


def key_renamed(rows: list[dict[str, Any]], draw: Draw) -> Any:
    for row in rows if draw.rng.random() < 0.5 else [rows[draw.row]]:
        row[draw.rng.choice((draw.kind, draw.key.upper(), draw.key + " "))] = row.pop(draw.key)
    return rows


def key_more(rows: list[dict[str, Any]], draw: Draw) -> Any:
    rows[draw.row]["action_output"] = torch.zeros(3)
    return rows


def another_type(rows: list[dict[str, Any]], draw: Draw) -> Any:
    value = rows[draw.row][draw.key]
    changes: tuple[Callable[[], Any], ...] = (
        value.double,
        value.half,
        value.bfloat16,
        value.long,
        value.tolist,
        value.numpy,
        lambda: value[None],
        lambda: value[:-1],
        lambda: torch.cat([value, value[:1]]),
        lambda: value + 1j,
        value.to_sparse,
        lambda: None,
        lambda: value.reshape(-1, 1),
        lambda: tuple(value.tolist()),
        lambda: torch.nn.Parameter(value),
        lambda: value.to_sparse().to_dense(),
        lambda: torch.stack([value, value])[0],
        lambda: str(value),
    )
    rows[draw.row][draw.key] = draw.rng.choice(changes)()
    return rows


def another_shape(rows: list[dict[str, Any]], draw: Draw) -> Any:
    ways: tuple[Callable[[], Any], ...] = (
        lambda: tuple(rows),
        lambda: dict(enumerate(rows)),
        lambda: {"results": rows},
        lambda: [rows],
        lambda: rows[0],
        lambda: {row["narration_id"]: row for row in rows},
        lambda: [*rows, "end"],
        lambda: [],
        lambda: None,
        lambda: {key: torch.stack([row[key] for row in rows]) for key in ("verb_output", "noun_output")},
        lambda: [{**row, "verb_output": row["noun_output"], "noun_output": row["verb_output"]} for row in rows],
        lambda: rows[::-1],
        lambda: [dict(reversed(row.items())) for row in rows],
    )
    return draw.rng.choice(ways)()


OF_ROWS = (
    scores_of_rows,
    scores_of_rows,
    scores_of_rows,
    scores_of_rows,
    rows_exchanged,
    row_copied,
    all_rows_alike,
    row_away,
    row_twice,
    row_more,
    id_changed,
    id_changed,
    ids_all_changed,
    key_away,
    key_renamed,
    key_more,
    another_type,
    another_type,
    another_shape,
)


def scores_of_json(content: dict[str, Any], draw: Draw) -> Any:
    for name in draw.ids if draw.rng.random() < 0.3 else [draw.id]:
        entry = content["results"][name]
        changed = _scores_changed(np.array([entry[draw.kind][str(n)] for n in range(draw.size)], float), draw)
        entry[draw.kind] = {str(n): float(score) for n, score in enumerate(changed)}
    return content


def entries_of_json(content: dict[str, Any], draw: Draw) -> Any:
    results = content["results"]
    entry, scores = results[draw.id], results[draw.id][draw.kind]
    ways: tuple[Callable[[], Any], ...] = (
        lambda: results.pop(draw.id),
        lambda: results.update({draw.id: results[draw.other_id]}),
        lambda: results.update({draw.id: results[draw.other_id], draw.other_id: entry}),
        lambda: results.update({str(_other_name(draw)): results.pop(draw.id)}),
        lambda: results.update({"P99_199_1": entry}),
        lambda: entry.pop(draw.kind),
        lambda: entry.update({draw.kind: list(scores.values())}),
        lambda: entry.update(verb=entry["noun"], noun=entry["verb"]),
        lambda: entry.update({f"{draw.kind}s": entry.pop(draw.kind)}),
        lambda: scores.pop(str(draw.place)),
        lambda: scores.update({str(draw.size): -3.0}),
        lambda: scores.update({f"0{draw.place}": scores.pop(str(draw.place))}),
        lambda: scores.update({str(draw.place): draw.rng.choice(("-3", None, True, [], 10**400, {}))}),
        lambda: scores.update({str(draw.place): scores[str(draw.second)], str(draw.second): scores[str(draw.place)]}),
        lambda: results.update({draw.id: draw.rng.choice((3, [], None, "x", {}))}),
        lambda: entry.update(action={"0": 1.0}),
    )
    draw.rng.choice(ways)()
    return content


def head_of_json(content: dict[str, Any], draw: Draw) -> Any:
    key = draw.rng.choice(list(HEAD))
    ways: tuple[Callable[[], Any], ...] = (
        lambda: content.pop(key),
        lambda: content.update({key: draw.rng.choice((None, "0.1", 0.2, -1, 6, 2.0, "2", True, [2]))}),
        lambda: content.update({key.upper(): content.pop(key)}),
        lambda: content.update(results_target=content.pop("results")),
        lambda: content.update(results=draw.rng.choice((None, [], {}, "x"))),
        lambda: content.update(team="us"),
        lambda: content.update(challenge=draw.rng.choice(("domain_adaptation", "action_detection", ""))),
    )
    draw.rng.choice(ways)()
    return content


def text_of_json(content: dict[str, Any], draw: Draw) -> Any:
    text, rng = json.dumps(content), draw.rng
    place = rng.randrange(len(text))
    ways: tuple[Callable[[], str | bytes], ...] = (
        lambda: text[:place],
        lambda: text + rng.choice("}]x,"),
        lambda: "\ufeff" + text,
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-16-be"),
        lambda: text.replace(".", ","),
        lambda: text.replace('"', "'"),
        lambda: text + "\n" + text,
        lambda: "\n " + text + "\n",
        lambda: text.replace(f'"{draw.id}"', f'"{draw.other_id}"'),
        lambda: text.replace("-", "", 1),
        lambda: text.replace('"verb": {"0": ', '"verb": {"0": -1.5, "0": ', 1),
        lambda: "",
        lambda: "null",
        lambda: text[:place] + chr(rng.randrange(32, 127)) + text[place + 1 :],
        lambda: text[:place] + text[place + 1 :],
        lambda: f"[{text}]",
        lambda: text[:place] + rng.choice("\u00a0\u200b\ufeff\u0000é") + text[place:],
        lambda: json.dumps(content, indent=1),
        lambda: (text[:place] + "é" + text[place:]).encode("latin-1"),
    )
    made = rng.choice(ways)()
    return made if isinstance(made, bytes) else made.encode()


OF_JSON = (
    scores_of_json,
    scores_of_json,
    scores_of_json,
    entries_of_json,
    entries_of_json,
    head_of_json,
    text_of_json,
    text_of_json,
)


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 5))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flipped_at_an_end(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    place = rng.randrange(min(600, len(content)))
    changed[place if rng.random() < 0.5 else -1 - place] = rng.randrange(256)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def zeroed(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    place = rng.randrange(len(changed))
    changed[place : place + 16] = bytes(len(changed[place : place + 16]))
    return bytes(changed)


def a_number_changed(content: bytes, rng: random.Random) -> bytes:
    place = 4 * rng.randrange(len(content) // 4)
    return content[:place] + struct.pack("<f", rng.choice((0.0, -1.0, 1e38, float("nan")))) + content[place + 4 :]


def doubled(content: bytes, rng: random.Random) -> bytes:
    return content + content


def appended(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.choice((1, 40)))


def packed_otherwise(content: bytes, rng: random.Random) -> bytes:
    """Another file under the name: in a folder of the zip, beside others, twice, or not packed at all."""
    held, name = io.BytesIO(), "submission.pt"
    inner = content
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if names in (["submission.pt"], ["test.json"]):
                name, inner = names[0], archive.read(names[0])
    way = rng.randrange(7)
    with zipfile.ZipFile(held, "w") as archive:
        if way == 0:
            archive.writestr(f"one/{name}", inner)
        elif way == 1:
            archive.writestr(name, inner)
            archive.writestr("__MACOSX/._x", b"")
        elif way == 2:
            archive.writestr("other.txt", inner)
        elif way == 3:
            archive.writestr(name, inner)
            archive.writestr({"submission.pt": "test.json", "test.json": "submission.pt"}[name], b"{}")
        elif way == 4:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                archive.writestr(name, inner)
                archive.writestr(name, inner[: len(inner) // 2])
        elif way == 5:
            archive.writestr(name.upper(), inner)
        else:
            archive.writestr(zipfile.ZipInfo(name), inner, zipfile.ZIP_LZMA)
    return held.getvalue()


OF_FILES = (flipped, flipped_at_an_end, cut, zeroed, a_number_changed, doubled, appended, packed_otherwise)
