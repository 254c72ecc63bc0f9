"""Making the lists that a protocol names out of published ones: a hold-out of whole videos, or MM-SADA's tables."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from epicsub.data.csv_table import FOREIGN_PREFIX
from epicsub.errors import ValidationError
from epicsub.io import user_path, write_text
from epicsub.text import name_some
from epicsub.unpickle import load_pickle
from epicsub.validation.protocol import Converted, HeldOut, Protocol, SegmentList
from epicsub.validation.tables import read_table, require_columns

CONVERTED_COLUMNS = (
    "narration_id",
    "participant_id",
    "video_id",
    "start_timestamp",
    "stop_timestamp",
    "start_frame",
    "stop_frame",
    "narration",
    "verb",
    "verb_class",
    "noun_class",
)
PICKLED_COLUMNS = ("uid", *CONVERTED_COLUMNS[1:-1])


def make_lists(protocol: Protocol, annotations: Path, source: Path | None = None) -> dict[Path, int]:
    """Write the lists of a protocol that says how they are made; nothing is written before everything is right.

    Args:
        protocol: with `held_out` or `converted`.
        annotations: folder of the lists.
        source: folder of the published tables, where that is not `annotations`.

    Returns:
        What was written, and how many rows each has.

    Raises:
        ValidationError: the protocol does not say how, or tables that are missing or not what they should be.
    """
    annotations = Path(annotations)
    folder = user_path(source) if source else annotations
    if protocol.held_out:
        tables = _hold_out(protocol, protocol.held_out, folder)
    elif protocol.converted:
        tables = _convert(protocol.converted, folder)
    else:
        raise ValidationError(f"protocol {protocol.name}: its lists are published as they are; use those")
    for name, table in tables.items():
        write_text(annotations / name, table.to_csv(index=False, lineterminator="\n"), ValidationError)
    return {annotations / name: len(table) for name, table in tables.items()}


def _hold_out(protocol: Protocol, rule: HeldOut, folder: Path) -> dict[str, pd.DataFrame]:
    """The rows of the rule's videos, the rest, and the kitchens that have rows among the former only.

    Raises:
        ValidationError: a pattern that fits no video, or other numbers of segments than stated; all at once.
    """
    path = folder / rule.source.list
    table = read_table(path)
    require_columns(table, path, ("narration_id", "participant_id", "video_id"))
    videos = table["video_id"].unique()
    fits = {pattern: {name for name in videos if fnmatchcase(name, pattern)} for pattern in rule.videos}
    out = table["video_id"].isin(set().union(*fits.values()))
    held, rest = table[out], table[~out]
    problems = [
        f"{path}: no video is named {pattern}; correct the protocol" for pattern, names in fits.items() if not names
    ]
    for stated, rows in ((rule.source, table), (protocol.validation, held), (rule.training, rest)):
        problems += _count_problem(path, stated, len(rows))
    if problems:
        raise ValidationError("\n".join(problems))
    made = {rule.training.list: rest, protocol.validation.list: held}
    if protocol.unseen_validation:
        unseen = sorted(set(held["participant_id"]) - set(rest["participant_id"]))
        made[protocol.unseen_validation] = pd.DataFrame({"participant_id": unseen})
    return made


def _convert(rule: Converted, folder: Path) -> dict[str, pd.DataFrame]:
    """MM-SADA's pickled tables with EK100's columns and verb ids; noun_class is empty.

    The narration id is `EK55_` and the uid: that counts EPIC-KITCHENS-55's narrations, and is none of EK100's ids.

    Raises:
        ValidationError: a file is missing or no such table, or has another number of rows; all at once.
    """
    problems: list[str] = []
    made: dict[str, pd.DataFrame] = {}
    for name, expected in rule.files.items():
        path = folder / name
        try:
            made[expected.list] = _converted(path, rule.verbs)
        except ValidationError as error:
            problems.append(str(error))
        else:
            problems += _count_problem(path, expected, len(made[expected.list]))
    if problems:
        raise ValidationError("\n".join(problems))
    return made


def _converted(path: Path, verbs: Sequence[int]) -> pd.DataFrame:
    if not path.is_file():
        raise ValidationError(f"{path}: no such file; name the folder of MM-SADA's pickles with --from")
    table = load_pickle(path, ValidationError)
    if not isinstance(table, pd.DataFrame):
        raise ValidationError(f"{path}: holds a {type(table).__name__}, a table of segments expected")
    require_columns(table, path, PICKLED_COLUMNS)
    outside = table[~table["verb_class"].isin(range(len(verbs)))]
    if len(outside):
        raise ValidationError(
            f"{path}: expected a verb_class from 0 to {len(verbs) - 1} for {name_some(outside['uid'])}"
        )
    ids = FOREIGN_PREFIX + table["uid"].astype(str)
    renumbered = table["verb_class"].map(dict(enumerate(verbs)))
    return table.assign(narration_id=ids, verb_class=renumbered, noun_class="")[list(CONVERTED_COLUMNS)]


def _count_problem(path: Path, expected: SegmentList, count: int) -> list[str]:
    return (
        [] if count == expected.count else [f"{path}: {count} segments for {expected.list}, {expected.count} expected"]
    )
