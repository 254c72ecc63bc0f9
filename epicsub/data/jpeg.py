"""JPEG pictures, decoded or refused: what OpenCV makes up for a damaged one is never handed on."""

import os
import tempfile
import threading
from contextlib import suppress

import cv2
import numpy as np

WARNINGS = (b"JPEG", b"JFIF", b"Adobe color", b"progression sequence")  # libjpeg's jerror.h, JWRN_
SCAN, END, TABLES, BASELINE = 0xDA, b"\xff\xd9", 0xC4, (0xC0, 0xC1)
HOLE = bytes(64)  # of a file copied in part; disks and networks lose 512 bytes and more at a time


def decode_jpeg(data: bytes, mode: int) -> np.ndarray | None:
    """Decode a picture.

    Args:
        data: of the file.
        mode: OpenCV's IMREAD flag.

    Returns:
        The picture as OpenCV gives it; None if there is none in `data`, or a part of it is damaged.
    """
    image: np.ndarray | None = None
    with suppress(cv2.error), _Warnings() as warnings:  # an error: no bytes at all
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    return image if not warnings.of_jpeg and _is_whole(data) else None


def _is_whole(data: bytes) -> bool:
    """False for a JPEG whose coded picture lacks its end, or has a hole that decoders take for a picture.

    Zeros for long are codes of a plain picture where the shortest code for brightness is "end of block", or a
    progressive one; else they would be the same wave in block after block, which no encoder writes.
    """
    position, first_symbol, baseline = 2, 0, False
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != SCAN:
        kind, size = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if kind == TABLES:
            first_symbol = _first_symbol(data[position + 4 : position + 2 + size]) or first_symbol
        baseline = baseline or kind in BASELINE
        position += 2 + size
    hole = baseline and first_symbol != 0 and data.find(HOLE, position) >= 0
    return data.find(END, position) > 0 and not hole


def _first_symbol(tables: bytes) -> int:
    """Of the code of zeros in the table of brightness, class AC, number 0 (JPEG, B.2.4.2); 0 if it is not there."""
    while len(tables) > 17:
        if tables[0] == 0x10:
            return tables[17]
        tables = tables[17 + sum(tables[1:17]) :]
    return 0


class _Warnings:
    """What libjpeg warns of inside a `with`: damage that it makes up pictures for, which OpenCV hands on as good.

    It writes to the C library's standard error and nowhere else, so that is led into a file meanwhile; what others
    write there is passed on. Four calls of the system, microseconds next to a picture's millisecond.
    """

    of_jpeg = False
    _lock = threading.Lock()  # standard error belongs to the process

    def __enter__(self) -> "_Warnings":
        self._lock.acquire()
        self._kept = -1
        with suppress(OSError):  # a process without standard error
            self._kept = os.dup(2)
            self._file = tempfile.TemporaryFile(buffering=0)
            os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._kept >= 0:
                os.dup2(self._kept, 2)
                os.close(self._kept)
                self._read()
        finally:
            self._lock.release()

    def _read(self) -> None:
        if os.fstat(self._file.fileno()).st_size:
            self._file.seek(0)
            lines = self._file.read().splitlines(keepends=True)
            self.of_jpeg = any(word in line for line in lines for word in WARNINGS)
            if others := [line for line in lines if not any(word in line for word in WARNINGS)]:
                os.write(2, b"".join(others))
        self._file.close()
