"""Segments whose length or end is out of the ordinary: sampled all the same, and told."""

from collections.abc import Iterable
from dataclasses import replace

from epicsub.data.annotations import VIDEO_INFO, Segment
from epicsub.data.root import DataRoot
from epicsub.data.sampling import with_context
from epicsub.errors import DataError
from epicsub.text import counted, first_of


def lengths_note(root: DataRoot, segments: Iterable[Segment], clip_seconds: float | None) -> str:
    """Count segments shorter than a clip, which repeat frames, and past the end of their video, which are truncated.

    Args:
        root: where `EPIC_100_video_info.csv` lies; without it the ends are not known beforehand, and the note says so.
        segments: of one or several lists.
        clip_seconds: what a dense clip covers, or None where frames are spread over the whole segment.

    Returns:
        One line for the user.

    Raises:
        DataError: `EPIC_100_video_info.csv` is wrong.
    """
    segments = list(segments)
    short = sum(clip_seconds is not None and s.stop - s.start < clip_seconds for s in segments)
    note = f"{counted(len(segments), 'segment', 'segments')}: {short} shorter than a clip (frames repeated), "
    if not root.has_video_info():
        return f"{note}unknown how many truncated at the end of the video (no {VIDEO_INFO})"
    videos = root.video_info()
    past = sum(s.video_id in videos and s.stop > videos[s.video_id].duration for s in segments)
    return f"{note}{past} truncated at the end of the video"


def short_with_context(root: DataRoot, segments: Iterable[Segment], seconds: float, context: float) -> list[Segment]:
    """Lengthen short segments by what is around them.

    Args:
        root: where `EPIC_100_video_info.csv` lies.
        segments: of one or several lists.
        seconds: segments shorter than that are lengthened.
        context: seconds of their video added on each side, at most.

    Returns:
        All segments, in their order.

    Raises:
        DataError: `EPIC_100_video_info.csv` is not there, or lacks videos: it says where they end.
    """
    segments = list(segments)
    videos = root.video_info()
    if unknown := sorted({segment.video_id for segment in segments} - videos.keys()):
        raise DataError(
            f"{root.annotations(VIDEO_INFO)}: lacks {first_of(unknown, 20)}, "
            "so where these videos end is not known: add them, or leave data.context out"
        )
    padded = []
    for segment in segments:
        start, stop = with_context(segment.start, segment.stop, seconds, context, videos[segment.video_id].duration)
        padded.append(replace(segment, start=start, stop=stop))
    return padded
