"""Ways to change a submission: its rows, its JSON, and the bytes of its files."""

import copy
import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.campaigns.byte_faults import appended, cut, flipped, flipped_at_an_end, zeroed
from epicsub.data.annotations import Segment
from epicsub.predictions import Predictions

HEAD = {"version": "0.2", "challenge": "action_recognition", "sls_pt": 2, "sls_tl": 3, "sls_td": 3}


class Made(NamedTuple):
    """A good submission."""

    folder: Path
    own: Predictions
    segments: list[Segment]


class Draw:
    """A place in a submission."""

    def __init__(self, rng: random.Random, ids: list[str]) -> None:
        self.rng, self.ids = rng, ids
        self.row, self.other = rng.sample(range(len(ids)), 2)
        self.id, self.other_id = ids[self.row], ids[self.other]
        self.kind = rng.choice(("verb", "noun"))
        self.key, self.size = f"{self.kind}_output", {"verb": 97, "noun": 300}[self.kind]
        self.place, self.second = rng.sample(range(self.size), 2)


def rows_of(made: Made) -> list[dict[str, Any]]:
    rows = torch.load(made.folder / "submission.pt", weights_only=True)
    return [{key: value.clone() if key != "narration_id" else value for key, value in row.items()} for row in rows]


def json_of(made: Made) -> dict[str, Any]:
    with zipfile.ZipFile(made.folder / "submission_json.zip") as archive:
        return json.loads(archive.read("test.json"))


def write_rows(path: Path, rows: Any) -> None:
    held = io.BytesIO()
    torch.save(rows, held)
    if path.suffix == ".pt":
        path.write_bytes(held.getvalue())
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("submission.pt", held.getvalue())


def write_json(path: Path, content: Any) -> None:
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


def a_number_changed(content: bytes, rng: random.Random) -> bytes:
    place = 4 * rng.randrange(len(content) // 4)
    return content[:place] + struct.pack("<f", rng.choice((0.0, -1.0, 1e38, float("nan")))) + content[place + 4 :]


def doubled(content: bytes, rng: random.Random) -> bytes:
    return content + content


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
