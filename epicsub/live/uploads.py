"""Files that a page sends: bounded, in a private folder, under names of our own, and removed."""

import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from epicsub.errors import LiveError

SPARE = 1 << 30
"""bytes that stay free on the disk"""
MOST_FILES = 4
"""of one page; the oldest goes first"""
# What a video begins with, at a byte: a playlist or a script, which could name other files, is none.
_SIGNATURES = (
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"\x1aE\xdf\xa3"),
    (8, b"AVI "),
    (0, b"\x47"),
    (0, b"\0\0\1\xba"),
)


@dataclass
class Uploads:
    """The private folder of a server."""

    most_bytes: int
    folder: Path = field(default_factory=lambda: Path(mkdtemp(prefix="epicsub-live-")))
    """readable by this user alone"""
    files: dict[str, list[Path]] = field(default_factory=dict)
    """by page"""

    async def receive(self, page: str, parts: AsyncIterator[bytes], stated: int | None) -> Path:
        """Write what a page sends.

        Args:
            page: that sends it.
            parts: of the file.
            stated: bytes that the request says it has, if it does.

        Returns:
            The file.

        Raises:
            LiveError: it is too large, no video by its first bytes, or does not fit on the disk.
        """
        if stated is not None:
            self._check_size(stated)
        path = self.folder / f"{secrets.token_hex(16)}.video"
        kept = self.files.setdefault(page, [])
        kept.append(path)
        try:
            with open(path, "wb") as handle:
                async for part in parts:
                    if handle.tell() == 0 and part:
                        _check_kind(part)
                    handle.write(part)
                    if handle.tell() > self.most_bytes:
                        self._check_size(handle.tell())
                if handle.tell() == 0:
                    raise LiveError("the file is empty (0 bytes): choose another")
        except BaseException:
            self.remove(page, path)
            raise
        while len(kept) > MOST_FILES:
            self.remove(page, kept[0])
        return path

    def remove(self, page: str, path: Path | None = None) -> None:
        """Remove a file of a page, or all of them.

        Args:
            page: whose.
            path: the file; None for all.
        """
        for one in [path] if path else list(self.files.get(page, [])):
            one.unlink(missing_ok=True)
            if one in self.files.get(page, []):
                self.files[page].remove(one)
        if not self.files.get(page):
            self.files.pop(page, None)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check_size(self, size: int) -> None:
        if size > self.most_bytes:
            raise LiveError(
                f"the file is over {self.most_bytes / 1e9:.1f} GB, the most that this server takes (--max-upload): cut "
                "a part out of it, or look at it with `epicsub live RUN --video FILE`"
            )
        if size > shutil.disk_usage(self.folder).free - SPARE:
            raise LiveError(
                "the disk of the server has no room for this file: send a shorter one, or ask who runs it to free some"
            )


def _check_kind(first: bytes) -> None:
    if not any(first[at : at + len(sign)] == sign for at, sign in _SIGNATURES):
        raise LiveError("this is no video that is taken here, choose one: MP4, MOV, MKV, WebM, AVI, MPEG")
