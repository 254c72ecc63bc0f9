"""Which form of the data a run reads: the originals or the prepared store, one or the other for each modality.

Decided once for all segments of a run, told, and never mixed: pictures of the store have been through the codec again.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from epicsub.data.annotations import Segment
from epicsub.data.prepared.file import read_index
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.modality import MODALITIES
from epicsub.text import counted

STORES = ("auto", "original", "prepared")
SHOWN = 5


class Choice(NamedTuple):
    """Modalities read from the prepared store, and a sentence on it for the user."""

    prepared: frozenset[str]
    note: str


def choose_store(root: DataRoot, segments: Iterable[Segment], modalities: Sequence[str], store: str) -> Choice:
    """What to read for these segments.

    Args:
        store: "original", "prepared", or "auto": prepared where it is complete for every segment.

    Raises:
        DataError: "prepared" is asked for and lacks something; all of it is named.
    """
    if store not in STORES:
        raise ValueError(f"store {store!r}: one of {STORES}")
    segments = list(segments)
    chosen, told, problems = set(), [], []
    for modality in modalities:
        lacking, settings = ([], "") if store == "original" else lacks(root, segments, modality)
        if store != "original" and not lacking:
            chosen.add(modality)
            told.append(f"{modality} is read from prepared/ ({settings})")
            continue
        some = (root.path / "prepared" / modality).is_dir() and store == "auto"
        told.append(
            f"{modality} is read from the originals"
            + (f" (prepared/ lacks {counted(len(lacking), 'video', 'videos')})" if some else "")
        )
        problems += lacking[:SHOWN] + [f"... and {len(lacking) - SHOWN} more of {modality}"] * (len(lacking) > SHOWN)
    if store == "prepared" and problems:
        told_all = "\n".join(problems)
        raise DataError(f"the prepared store is not complete; `epicsub data prepare` completes it:\n{told_all}")
    return Choice(frozenset(chosen), "; ".join(told))


def lacks(root: DataRoot, segments: Sequence[Segment], modality: str) -> tuple[list[str], str]:
    """A line for each video whose entry lacks segments, and the settings that all entries share."""
    by_video: dict[str, list[Segment]] = {}
    for segment in segments:
        by_video.setdefault(segment.video_id, []).append(segment)
    lines: list[str] = []
    settings: dict[str, str] = {}
    for video_id, wanted in by_video.items():
        path = root.prepared(video_id, modality)
        index = read_index(path)
        if index is None:
            lines.append(f"{video_id}: no prepared {modality} ({path})")
            continue
        side = f"short side {index.note['short_side']}, " if not MODALITIES[modality].keeps_size else ""
        settings.setdefault(f"{side}crf {index.note['crf']}", video_id)
        lacking = [segment.narration_id for segment in wanted if not index.covers(segment.start, segment.stop)]
        if lacking:
            lines.append(f"{path}: lacks {counted(len(lacking), 'segment', 'segments')} ({', '.join(lacking[:SHOWN])})")
    if len(settings) > 1:
        lines.append(
            f"prepared with different settings: {', '.join(f'{key} ({video})' for key, video in settings.items())}"
        )
    return lines, next(iter(settings), "")
