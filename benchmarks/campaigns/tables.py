"""Annotation tables, changed in one or two ways each: read as they stand, or refused with file and line.

What must come of a table is decided here by a reader of its own, which splits the text by hand and knows the rules of
the organisers' tables: nothing in a value that does not show, each needed column once, whole rows, ids that belong
together, each narration once, times and classes in their ranges.
"""

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.campaigns.table_faults import OF_BYTES, OF_TEXT, as_utf8
from benchmarks.campaigns.table_rules import LISTS, reference
from epicsub.data.annotations import read_class_names, read_ids, read_segments, read_skip_list, read_video_info
from epicsub.errors import EpicsubError
from epicsub.validation.protocol import SegmentList
from epicsub.validation.tables import read_classes, read_labels

TOTAL = 2000
MUST_BE_ZERO = ("traceback", "silent", "nameless", "refused_good")
HEAD = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)


def prepare(folder: Path) -> None:
    rng = random.Random(0)
    rows, number = [HEAD], 0
    for video in ("P01_01", "P01_101", "P02_03", "P22_117"):
        begin = 1.0
        for place in range(6):
            start, stop = begin + rng.random(), begin + 2 + 2 * rng.random()
            begin, number = stop - rng.random(), number + 1
            times = [f"00:{int(t // 60):02d}:{t % 60:05.2f}" for t in (start, stop)]
            verb, noun = rng.randrange(97), rng.randrange(300)
            rows.append(
                f"{video}_{place},{video[:3]},{video},{times[0]}0,{times[0]},{times[1]},"
                f"{int(50 * start)},{int(50 * stop)},verb{verb} the noun{noun},verb{verb},{verb},noun{noun},{noun},"
                f"\"['noun{noun}', 'x']\",\"[{noun}, 5]\""
            )
    test = [",".join(row.split(",")[:8]) for row in rows]
    texts = {
        "train": rows,
        "test": test,
        "info": [
            "video_id,duration,fps,resolution",
            *(f"P01_{n},{60 + n / 7:.6f},59.94,1920x1080" for n in range(10, 30)),
        ],
        "classes": ["id,key,instances,category", *(f"{n},verb{n},\"['verb{n}', 'x']\",any" for n in range(30))],
        "tail": ["noun", *map(str, range(20, 50))],
        "skip": [f"P01_101_{n}" for n in range(20)],
    }
    (folder / "inputs").mkdir(exist_ok=True)
    for name, lines in texts.items():
        (folder / "inputs" / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def trial(folder: Path, rng: random.Random, index: int) -> dict[str, str]:
    name = rng.choice(("train", "train", "train", "test", "test", "info", "classes", "tail", "skip"))
    text = (folder / "inputs" / f"{name}.csv").read_text(encoding="utf-8")
    done, content = [], b""
    for _ in range(rng.choice((1, 1, 1, 2))):
        way = rng.choice(OF_TEXT)
        text, done = way(text, rng), [*done, way.__name__]
    way = rng.choice(OF_BYTES) if rng.random() < 0.35 else as_utf8
    content, done = way(text, rng), [*done, way.__name__]
    path = folder / "scratch" / f"{name}.csv"
    path.write_bytes(content)
    logging.getLogger("epicsub").setLevel(logging.ERROR)
    detail = f"{name}: {', '.join(done)}"
    outcomes = [_outcome(reader, path, reference(content, rules)) for rules, reader in READERS[name].items()]
    for worst in ("traceback", "silent", "nameless", "refused_good"):
        for outcome, said in outcomes:
            if outcome == worst:
                return {"outcome": worst, "detail": f"{detail}: {said[:600]}"}
    return {"outcome": outcomes[0][0], "detail": f"{detail}: {outcomes[0][1][:200]}"}


def figures(counts: dict[str, int]) -> dict[str, int]:
    names = ("traceback", "silent", "nameless", "refused_good", "right", "refused")
    return {"tables_total": sum(counts.values()), **{f"tables_{name}": counts[name] for name in names}}


def _outcome(reader: Callable[[Path], Any], path: Path, expected: Any) -> tuple[str, str]:
    try:
        got = reader(path)
    except EpicsubError as error:
        said = str(error)
        if str(path) not in said:
            return "nameless", said
        return ("refused" if expected is None else "refused_good"), said
    except Exception as error:
        return "traceback", repr(error)
    if expected is None:
        return "silent", "read, where it should have been refused"
    return ("right", "") if got == expected else ("silent", f"read as {str(got)[:200]}, not {str(expected)[:200]}")


def _segments(path: Path) -> list[tuple[Any, ...]]:
    return [
        (s.narration_id, s.participant_id, s.video_id, round(s.start, 3), round(s.stop, 3), s.verb_class, s.noun_class)
        for s in read_segments(path)
    ]


def _labels(path: Path) -> list[tuple[Any, ...]]:
    count = len(reference(path.read_bytes(), "labels") or []) or 24
    table = read_labels(path.parent, SegmentList(list=path.name, count=count))
    seconds = (
        [None] * len(table) if "seconds" not in table else [round(float(second), 3) for second in table["seconds"]]
    )
    columns = (table[name].tolist() for name in LISTS["labels"])
    return [(*row, second) for *row, second in zip(*columns, seconds, strict=True)]


def _info(path: Path) -> dict[str, tuple[float, float, int, int]]:
    return {name: (v.duration, v.fps, v.width, v.height) for name, v in read_video_info(path).items()}


# Table: by what rules, and with which reader.
READERS: dict[str, dict[str, Callable[[Path], Any]]] = {
    "train": {"train": _segments, "labels": _labels},
    "test": {"test": _segments},
    "info": {"info": _info},
    "classes": {"classes": read_class_names},
    "tail": {"tail": lambda path: read_classes(path, "noun"), "words": lambda path: read_ids(path, "noun")},
    "skip": {"skip": read_skip_list},
}
