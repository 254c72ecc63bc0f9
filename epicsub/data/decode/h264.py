"""What can be read off an H.264 picture without decoding it."""

from collections.abc import Iterator

from av.video.codeccontext import VideoCodecContext

START_CODE = b"\0\0\1"


def length_size(context: VideoCodecContext) -> int | None:
    """Bytes of the length before each unit of the stream's packets, 0 for start codes, None where it is not H.264."""
    if context.name != "h264":
        return None
    extra = context.extradata or b""
    return (extra[4] & 3) + 1 if len(extra) > 4 and extra[0] == 1 else 0


def has_reference_slice(picture: memoryview | bytes, size: int) -> bool:
    """Whether others may be predicted from this picture: nal_ref_idc of its first slice (H.264, 7.4.1) is not 0.

    Args:
        picture: a packet.
        size: see `length_size`.
    """
    view = memoryview(picture)
    for at in _units(view, size):
        if view[at] & 31 in (1, 5):
            return view[at] >> 5 & 3 != 0
    return True


def _units(view: memoryview, size: int) -> Iterator[int]:
    """The place of each unit's first byte."""
    at = 0
    if size:
        while at + size < len(view):
            yield at + size
            at += size + int.from_bytes(view[at : at + size], "big")
        return
    data = bytes(view)
    at = data.find(START_CODE)
    while 0 <= at < len(data) - 3:
        yield at + 3
        at = data.find(START_CODE, at + 3)
