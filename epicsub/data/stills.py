"""The middle frame of a segment as a small JPEG, for a page that shows what a model got wrong."""

from collections.abc import Sequence

import cv2
import numpy as np

from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.data.sources import ClipSource
from epicsub.errors import DataError
from epicsub.modality import RGB

HEIGHT = 180
QUALITY = 78


def middle_frames(root: DataRoot, segments: Sequence[Segment], decoder: str = "auto") -> dict[str, bytes | str]:
    """JPEG of the middle frame of each segment, at most `HEIGHT` pixels high, by narration id.

    A frame that cannot be had is no reason to stop a report: its entry is the reason in words.
    """
    source = ClipSource(root, (RGB.name,), decoder, cache_size=2)
    found: dict[str, bytes | str] = {}
    for segment in sorted(segments, key=lambda s: (s.video_id, s.start)):  # one video after the other
        try:
            clip = source.read(segment, np.array([(segment.start + segment.stop) / 2]))
            found[segment.narration_id] = _jpeg(clip[RGB.name][0].numpy())
        except DataError as error:
            found[segment.narration_id] = str(error)
    source.close()
    return found


def _jpeg(frame_HWC: np.ndarray) -> bytes:
    height, width = frame_HWC.shape[:2]
    if height > HEIGHT:
        frame_HWC = cv2.resize(frame_HWC, (round(width * HEIGHT / height), HEIGHT), interpolation=cv2.INTER_AREA)
    written, data = cv2.imencode(".jpg", frame_HWC[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert written
    return data.tobytes()
