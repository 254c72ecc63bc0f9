"""Segments whose length or end is out of the ordinary: sampled all the same, and told."""

from collections.abc import Iterable
from dataclasses import replace

from epicsub.data.annotations import Segment, read_video_info
from epicsub.data.root import DataRoot
from epicsub.data.sampling import with_context
from epicsub.errors import DataError
from epicsub.text import counted

TABLE = "EPIC_100_video_info.csv"


def lengths_note(root: DataRoot, segments: Iterable[Segment], clip_seconds: float | None) -> str:
    """One sentence on segments shorter than a clip, which repeat frames, and past their video's end, which are cut.

    Args:
        root: where `EPIC_100_video_info.csv` lies; without it the ends are not known beforehand, and the note says so.
        segments: of one or several lists.
        clip_seconds: what a dense clip covers, or None where frames are spread over the whole segment.
    """
    segments = list(segments)
    short = sum(clip_seconds is not None and s.stop - s.start < clip_seconds for s in segments)
    told = (
        f"of {counted(len(segments), 'segment', 'segments')} "
        f"{counted(short, 'is shorter than a clip and repeats', 'are shorter than a clip and repeat')} frames evenly"
    )
    table = root.path / "annotations" / TABLE
    if not table.is_file():
        return f"{told}; without {table.name} it is not known how many run past their video's end"
    videos = read_video_info(table)
    past = sum(s.video_id in videos and s.stop > videos[s.video_id].duration for s in segments)
    one, many = "runs past its video's end and is cut there", "run past their video's end and are cut there"
    return f"{told}, {counted(past, one, many)}"


def short_with_context(root: DataRoot, segments: Iterable[Segment], seconds: float, context: float) -> list[Segment]:
    """The segments, those shorter than `seconds` with up to `context` seconds of their video on each side.

    Raises:
        DataError: `EPIC_100_video_info.csv` is not there, or lacks videos: it says where they end.
    """
    segments = list(segments)
    videos = read_video_info(root.annotations(TABLE))
    if unknown := sorted({segment.video_id for segment in segments} - videos.keys()):
        raise DataError(
            f"{root.path / 'annotations' / TABLE}: lacks {', '.join(unknown[:20])}{' and more' * (len(unknown) > 20)}, "
            "so where these videos end is not known: add them, or leave data.context out"
        )
    padded = []
    for segment in segments:
        start, stop = with_context(segment.start, segment.stop, seconds, context, videos[segment.video_id].duration)
        padded.append(replace(segment, start=start, stop=stop))
    return padded
