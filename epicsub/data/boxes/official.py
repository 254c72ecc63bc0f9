"""The official pickles of hands and objects: a list of bytes, one proto3 message a frame.

Detections {1 video_id, 2 frame_number, 3 hands*, 4 objects*}, hand {1 bbox, 2 score, 3 state, 4 offset, 5 side},
object {1 bbox, 2 score}, bbox {1 left, 2 top, 3 right, 4 bottom}, offset {1 x, 2 y}; floats are shares of the picture.
A field that is 0 is left out (proto3), so an absent side is LEFT, an absent state no contact. The reader of the
authors (`epic_kitchens.hoa`) unpickles without limits; this one admits no name at all.
"""

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple, NoReturn

from epicsub.data.boxes.detections import FrameDetections, Hand, Thing
from epicsub.errors import DataError
from epicsub.io.files import check_readable
from epicsub.unpickle.unreadable import ForeignObjectError, why_unreadable

WIDTH, HEIGHT = 456, 256
"""Pixels of the extracted frames on which the detector ran."""
_AGAIN = "Fetch it again with the organisers' download script"
_FLOAT = Struct("<f").unpack_from
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Message(NamedTuple):
    """The message of one frame."""

    video_id: str
    number: int
    """From 1."""
    found: FrameDetections


def read_pickle(path: Path) -> list[bytes]:
    """Read an official pickle.

    Args:
        path: like hand-objects/P01/P01_01.pkl.

    Returns:
        A message a frame.

    Raises:
        DataError: it cannot be read, is no whole pickle, names any class or function, or holds something else.
    """
    check_readable(path)
    try:
        with open(path, "rb") as handle:
            content = _NothingNamed(handle).load()
    except ForeignObjectError as error:
        raise DataError(
            f"{path}: names {error}, where official boxes are plain bytes and name nothing: it is not loaded, for it "
            f"could run code of the file's choice. {_AGAIN}"
        ) from error
    except Exception as error:  # a damaged stream fails in the middle of whatever it had begun to build
        raise DataError(f"{path}: {why_unreadable(path, error, ('pickle',), _AGAIN)}") from error
    if not isinstance(content, list) or not all(isinstance(item, bytes) for item in content):
        raise DataError(f"{path}: holds no list of bytes, one a frame, as the official boxes do. {_AGAIN}")
    return content


def parse_frames(messages: Iterable[bytes]) -> Iterator[Message]:
    """Parse the messages of a video.

    Args:
        messages: one a frame.

    Yields:
        Their content.

    Raises:
        DataError: a message is damaged; says which.
    """
    for place, data in enumerate(messages, start=1):
        try:
            yield parse_message(data)
        except DataError as error:
            raise DataError(f"message {place}: {error}") from None


def parse_message(data: bytes) -> Message:
    """Parse the message of one frame.

    Args:
        data: as protobuf has written it.

    Returns:
        Its content.

    Raises:
        DataError: it breaks off, or is no such message.
    """
    video_id, number = b"", 0
    hands, objects = [], []
    for key, value, end in _fields(data, 0, len(data)):
        if key == 8 * 3 + _BYTES:
            hands.append(_hand(data, value, end))
        elif key == 8 * 4 + _BYTES:
            objects.append(_object(data, value, end))
        elif key == 8 * 1 + _BYTES:
            video_id = data[value:end]
        elif key == 8 * 2 + _VARINT:
            number = _int32(value)
    try:
        return Message(video_id.decode(), number, FrameDetections(hands, objects))
    except UnicodeDecodeError:
        raise DataError("the name of its video is no text: damaged, fetch it again") from None


class _NothingNamed(pickle._Unpickler):  # the one in Python: no index of its memo makes it take memory
    def find_class(self, module: str, name: str) -> NoReturn:
        raise ForeignObjectError(f"{module}.{name}")


def _fields(data: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Key of each field, and its value (a number) and 0, or the places where its bytes begin and end."""
    while at < stop:
        key, at = (data[at], at + 1) if data[at] < 128 else _varint(data, at, stop)
        kind = key & 7
        if kind == _FIXED32:
            value, end, after = at, at + 4, at + 4
        elif kind == _BYTES:
            length, value = _varint(data, at, stop)
            end = after = value + length
        elif kind == _VARINT:
            value, after = _varint(data, at, stop)
            end = 0
        elif kind == _FIXED64:
            value, end, after = at, at + 8, at + 8
        else:
            raise DataError(f"field {key >> 3} is of no kind that proto3 has: damaged, fetch it again")
        if after > stop or key < 8:
            what = "breaks off within a field" if after > stop else "field 0, which there is not"
            raise DataError(f"{what}: damaged, fetch it again")
        yield key, value, end
        at = after


def _varint(data: bytes, at: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            raise DataError("breaks off within a number: damaged, fetch it again")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise DataError("a number of over ten bytes: damaged, fetch it again")


def _int32(value: int) -> int:
    """Numbers below zero are written as 64 bits of two's complement."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def _floats(data: bytes, at: int, stop: int, into: list[float]) -> None:
    """Fields 1, 2, ... of a message of floats; those it leaves out stay as they are."""
    for key, value, _ in _fields(data, at, stop):
        if key & 7 == _FIXED32 and key >> 3 <= len(into):
            into[(key >> 3) - 1] = _float(data, value)


def _float(data: bytes, at: int) -> float:
    value: float = _FLOAT(data, at)[0]  # `_fields` has seen that its bytes are there
    return value


def _hand(data: bytes, at: int, stop: int) -> Hand:
    corners, offset, score, state, side = [0.0] * 4, [0.0] * 2, 0.0, 0, 0
    for key, value, end in _fields(data, at, stop):
        if key == 8 * 1 + _BYTES:
            _floats(data, value, end, corners)
        elif key == 8 * 2 + _FIXED32:
            score = _float(data, value)
        elif key == 8 * 3 + _VARINT:
            state = _int32(value)
        elif key == 8 * 4 + _BYTES:
            _floats(data, value, end, offset)
        elif key == 8 * 5 + _VARINT:
            side = _int32(value)
    return Hand((corners[0], corners[1], corners[2], corners[3]), score, state, (offset[0], offset[1]), side)


def _object(data: bytes, at: int, stop: int) -> Thing:
    corners, score = [0.0] * 4, 0.0
    for key, value, end in _fields(data, at, stop):
        if key == 8 * 1 + _BYTES:
            _floats(data, value, end, corners)
        elif key == 8 * 2 + _FIXED32:
            score = _float(data, value)
    return Thing((corners[0], corners[1], corners[2], corners[3]), score)


def write_message(message: Message) -> bytes:
    """Write the message of one frame, zeros left out as proto3 does.

    Args:
        message: its content.

    Returns:
        Bytes that `parse_message` and protobuf read.
    """
    hands = b"".join(
        _part(
            3,
            _part(1, _packed(hand.corners)) + _packed((0.0, hand.score)) + _number(3, hand.state)
            + _part(4, _packed(hand.offset)) + _number(5, hand.side),
        )
        for hand in message.found.hands
    )  # fmt: skip
    objects = b"".join(
        _part(4, _part(1, _packed(thing.corners)) + _packed((0.0, thing.score))) for thing in message.found.objects
    )
    name = message.video_id.encode()
    return (_part(1, name) if name else b"") + _number(2, message.number) + hands + objects


def _packed(values: Iterable[float]) -> bytes:
    """Floats as fields 1, 2, ...; zeros are left out."""
    pack = Struct("<f").pack
    return b"".join(bytes([8 * place + _FIXED32]) + pack(v) for place, v in enumerate(values, start=1) if v)


def _part(field: int, content: bytes) -> bytes:
    return bytes([8 * field + _BYTES]) + _as_varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return bytes([8 * field + _VARINT]) + _as_varint(value) if value else b""


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
