"""Which form of the data a run reads: the originals or the prepared store, one or the other for each modality.

Decided once for all segments of a run, told, and never mixed: pictures of the store have been through the codec again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from epicsub.data.annotations import Segment
from epicsub.data.prepared.file import Index, read_index
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.modality import MODALITIES
from epicsub.text import counted

STORES = ("auto", "original", "prepared")
SHOWN = 5


Indexes = Mapping[tuple[str, str], Index]
"""By modality and video id."""


@dataclass(frozen=True)
class StoreChoice:
    """Modalities read from the prepared store, a sentence on it for the user, and the indexes of the entries.

    The indexes are read once, here: what reads clips takes them from here, in worker processes too.
    """

    prepared: frozenset[str]
    note: str
    indexes: Indexes = field(default_factory=dict, repr=False)


def choose_store(
    root: DataRoot, segments: Iterable[Segment], modalities: Sequence[str], store: str, known: Indexes | None = None
) -> StoreChoice:
    """What to read for these segments.

    Args:
        root: the data root.
        segments: all segments that a run reads.
        modalities: names of modalities, decided one by one.
        store: "original", "prepared", or "auto": prepared where it is complete for every segment.
        known: indexes that have been read already.

    Returns:
        The choice for all segments.

    Raises:
        ValueError: there is no such `store`.
        DataError: "prepared" is asked for and lacks something; all of it is named.
    """
    if store not in STORES:
        raise ValueError(f"store {store!r}: one of {STORES}")
    segments = list(segments)
    chosen, told, problems = set(), [], []
    indexes = dict(known or {})
    for modality in modalities:
        lacking, settings = ([], "") if store == "original" else lacks(root, segments, modality, indexes)
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
    return StoreChoice(frozenset(chosen), "; ".join(told), indexes)


def lacks(
    root: DataRoot, segments: Sequence[Segment], modality: str, indexes: dict[tuple[str, str], Index]
) -> tuple[list[str], str]:
    """What the prepared store lacks of one modality.

    Args:
        root: the data root.
        segments: what is needed.
        modality: name of the modality.
        indexes: by modality and video id; those that are not there are read and added.

    Returns:
        A line for each video whose entry lacks segments, and the settings that all entries share.
    """
    by_video: dict[str, list[Segment]] = {}
    for segment in segments:
        by_video.setdefault(segment.video_id, []).append(segment)
    lines: list[str] = []
    settings: dict[str, str] = {}
    for video_id, wanted in by_video.items():
        path = root.prepared(video_id, modality)
        index = indexes.get((modality, video_id)) or read_index(path)
        if index is None:
            lines.append(f"{video_id}: no prepared {modality} ({path})")
            continue
        indexes[modality, video_id] = index
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
