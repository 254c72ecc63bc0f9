"""A zip of one entry whose bytes depend on its content alone, compressed on all cores.

The content comes in pieces. Each is made, counted and deflated in a thread of its own and ends on a whole byte, so that
the pieces in a row are one deflate stream (RFC 1951; pigz does the same). How many threads there were does not show.
zlib-ng deflates the same level twice as fast as Python's zlib. zipfile can neither take a stream that is deflated
already nor be given another deflate, hence the headers here (APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16).
"""

import os
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from zlib_ng import zlib_ng

LEVEL = 5
"""Of deflate: what the organisers' own writer uses."""
_NO_DATE = (1980 - 1980) << 25 | 1 << 21 | 1 << 16
"""The earliest that a zip can state, 1980-01-01 00:00:00, as date and time in one number."""
_UNIX, _NEEDS, _DEFLATED = 3, 20, 8
_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s4B4H3I5H2I"), struct.Struct("<4s4H2IH")
_LAST_BLOCK = b"\x03\x00"  # an empty final block of deflate
_MOST = 0xFFFFFFFF
_FILE_MODE = 0o100644 << 16


class _Piece(NamedTuple):
    text: bytes
    deflated: bytes


def write_zip(path: Path, name: str, pieces: Iterable[Callable[[], bytes]]) -> None:
    """Write a zip with one deflated entry. Same content in the same pieces, same bytes.

    Args:
        path: the zip.
        name: the entry's, ASCII.
        pieces: functions that give the content, part by part; each is called once, in any thread.

    Raises:
        ValueError: 4 GiB or more, which this form of zip cannot state.
    """
    with open(path, "wb") as handle:
        handle.write(_local(name, 0, 0, 0))
        checksum = size = packed = 0
        for piece in _in_threads(pieces):
            checksum = zlib_ng.crc32(piece.text, checksum)
            size += len(piece.text)
            packed += handle.write(piece.deflated)
        packed += handle.write(_LAST_BLOCK)
        if max(size, packed) >= _MOST:
            raise ValueError(f"{name} has {size} bytes; a zip without extensions holds less than 4 GiB")
        start = handle.tell()
        handle.write(_central(name, checksum, packed, size))
        end = handle.tell()
        handle.write(_END.pack(b"PK\x05\x06", 0, 0, 1, 1, end - start, start, 0))
        handle.seek(0)
        handle.write(_local(name, checksum, packed, size))


def _in_threads(pieces: Iterable[Callable[[], bytes]]) -> Iterator[_Piece]:
    """Work on a few pieces at a time, so that memory does not grow with their number; give them in their order."""
    workers = os.cpu_count() or 1
    waiting: deque[Future[_Piece]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for make in pieces:
            waiting.append(pool.submit(_deflate, make))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _deflate(make: Callable[[], bytes]) -> _Piece:
    text = make()
    deflate = zlib_ng.compressobj(LEVEL, zlib_ng.DEFLATED, -zlib_ng.MAX_WBITS)
    return _Piece(text, deflate.compress(text) + deflate.flush(zlib_ng.Z_SYNC_FLUSH))


def _local(name: str, checksum: int, packed: int, size: int) -> bytes:
    text = name.encode("ascii")
    fields = (_NEEDS, 0, _DEFLATED, _NO_DATE & 0xFFFF, _NO_DATE >> 16, checksum, packed, size, len(text), 0)
    return _LOCAL.pack(b"PK\x03\x04", *fields) + text


def _central(name: str, checksum: int, packed: int, size: int) -> bytes:
    text = name.encode("ascii")
    made_by = (_NEEDS, _UNIX, _NEEDS, 0, 0, _DEFLATED, _NO_DATE & 0xFFFF, _NO_DATE >> 16)
    return _CENTRAL.pack(b"PK\x01\x02", *made_by, checksum, packed, size, len(text), 0, 0, 0, 0, _FILE_MODE, 0) + text
