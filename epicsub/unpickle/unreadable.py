"""What a file from elsewhere is, by its content, and why it cannot be read: a library's own words help nobody here."""

import io
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import BinaryIO, NamedTuple

from epicsub.io.files import os_reason
from epicsub.text import name_some, sized

Source = Path | io.BytesIO
AGAIN = "copy or fetch it again"
_HEAD = 4096  # bytes that are looked at
_LONGEST_HEADER = 100_000_000
_TORCH_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the magic number, as a pickle holds it
_COMPRESSED = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
}  # fmt: skip
_OTHERS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras and MATLAB write",
    b"\x93NUMPY": "an array of numpy (.npy)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"RIFF": "an AVI or WAV file",
    b"\x1aE\xdf\xa3": "a Matroska video",
    b"GGUF": "a GGUF file of a language model",
    b"PAR1": "a Parquet table",
    b"SQLite format 3": "an SQLite database",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"\x04\x00\x00\x00\x01\x00\x00\x00": "a file of Lua's torch",
}


class Kind(NamedTuple):
    """What a file is."""

    name: str
    """`torch`, `pickle`, `zip`, `npz`, `safetensors`, or `other`"""
    says: str
    """A clause that follows the path: `is empty (0 bytes): ...`"""
    whole: bool = True
    """False where the content breaks off"""


def kind_of(source: Source) -> Kind:
    """Recognise a file that cannot be read as what it should be.

    Args:
        source: a file, or the content of one.

    Returns:
        Its kind.

    Raises:
        OSError: the file cannot be read.
    """
    if isinstance(source, io.BytesIO):
        source.seek(0)
        return _recognise(source, len(source.getbuffer()))
    with open(source, "rb") as handle:
        return _recognise(handle, Path(source).stat().st_size)


def why_unreadable(source: Source, error: BaseException, expected: Iterable[str], remedy: str) -> str:
    """Tell in epicsub's words why a file from elsewhere cannot be read.

    Args:
        source: a file, or the content of one.
        error: what the library that read it raised.
        expected: kinds (`Kind.name`) that the reader takes.
        remedy: what to do about a file that holds objects of other code.

    Returns:
        A clause that follows the path.
    """
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read: {os_reason(error, source if isinstance(source, Path) else None)}"
    text = str(error)
    if isinstance(error, MemoryError) or re.search(r"[aA]llocate|out of memory|Cannot allocate", text):
        return f"asks for far more memory than its size: it is damaged, or made to do harm; {AGAIN} from its authors"
    try:
        kind = kind_of(source)
    except OSError as failed:
        return f"cannot be read: {os_reason(failed)}"
    if kind.name not in expected or not kind.whole:
        return kind.says
    if names := _foreign_names(error, text):
        return (
            f"holds {name_some(names)}, which is no numpy, pandas or torch container: it is not loaded, for it could "
            f"run code of the file's choice. {remedy}"
        )
    return f"is damaged: what it holds breaks off or is out of order; {AGAIN}"


class ForeignObjectError(UnpicklingError):
    """A pickle names what is not admitted; the message is the name alone."""


def _foreign_names(error: BaseException, text: str) -> list[str]:
    """Names of classes or functions for which a reader refused a file."""
    if isinstance(error, ForeignObjectError):
        return [text]
    if not isinstance(error, UnpicklingError):
        return []
    found = re.findall(
        r"(?:[Uu]nsupported (?:global: )?GLOBAL|Unsupported class|but got (?:<class ')?) ?([\w.]+)", text
    )
    if not found and "unrecognized function" in text:
        found = re.findall(r"unrecognized function (?:<[\w ]+ )?'?([\w.]+)", text)
    return [name if "." in name else f"builtins.{name}" for name in dict.fromkeys(found)]


def _recognise(handle: BinaryIO, size: int) -> Kind:
    head = handle.read(_HEAD)
    if says := _no_file(head, size) or _by_its_beginning(head):
        return Kind("other", says)
    if head.startswith(b"PK"):
        return _zip_kind(handle)
    if head[257:262] == b"ustar":
        return _tar_kind(handle)
    if head[8:9] == b"{" and (length := int.from_bytes(head[:8], "little")) < _LONGEST_HEADER:
        return _safetensors_kind(handle, length, size)
    return _plain_kind(head)


def _plain_kind(head: bytes) -> Kind:
    if _TORCH_LEGACY in head[:64]:
        return Kind("torch", "is a file of torch.save: give it the ending .pt")
    if re.match(rb"\x80[\0-\5]|[(c\]}]", head):
        return Kind(
            "pickle", "is a pickle that torch.save did not write: give it the ending .pkl, if it is predictions"
        )
    try:
        first = head.decode("utf-8").splitlines()[0]
    except (UnicodeDecodeError, IndexError):
        return Kind("other", f"is of no kind that is known here (it begins with {head[:8].hex(' ')}): {AGAIN}")
    return Kind("other", f"is a text that begins with {first[:60]!r}: name the file that was meant")


def _no_file(head: bytes, size: int) -> str:
    """What a download or a copy left in place of the file; empty for anything else."""
    if size == 0:
        return f"is empty (0 bytes): {AGAIN}"
    if not head.strip(b"\0"):
        return f"begins with {len(head)} zeros: its copy was broken off by a full disk or a kill; {AGAIN}"
    if head.startswith(b"version https://git-lfs"):
        stated = re.search(rb"size (\d{1,15})", head)
        stands = f", which stands for a file of {sized(int(stated[1]))}" if stated else ""
        return f"is a pointer of git-lfs{stands}: run `git lfs pull` in its repository, or fetch the file"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--", b"<script")):
        return (
            "is a web page (HTML), not the file: the link asks for a login, a click or a quota; open it in a browser, "
            "download the file and put it here"
        )
    if text.startswith(b"<"):
        return "is a text in XML, as a server's answer to a link that is wrong or has expired; fetch it again"
    return ""


def _by_its_beginning(head: bytes) -> str:
    for start, name in _COMPRESSED.items():
        if head.startswith(start):
            return f"is compressed by {name}: unpack it, and name the file inside"
    for start, name in _OTHERS.items():
        if head.startswith(start):
            return f"is {name}: name the file that was meant"
    return "is a video (MP4): name the file that was meant" if head[4:8] == b"ftyp" else ""


def _zip_kind(handle: BinaryIO) -> Kind:
    try:
        with zipfile.ZipFile(handle) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, UnicodeDecodeError, EOFError):
        return Kind("zip", f"is cut off or damaged: a zip (as torch.save writes) without its end; {AGAIN}", False)
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        return Kind(
            "other",
            "is a program of torch.jit.save, not weights: where it was made, torch.save(model.state_dict(), FILE)",
        )
    if "data.pkl" in inside:
        return Kind("torch", "is a file of torch.save: give it the ending .pt")
    if names and all(name.endswith(".npy") for name in names):
        return Kind("npz", "is an archive of numpy: give it the ending .npz")
    return Kind("zip", f"is a zip that holds {name_some(names, 5) or 'nothing'}: unpack it, and name the file inside")


def _tar_kind(handle: BinaryIO) -> Kind:
    handle.seek(0)
    try:
        with tarfile.open(fileobj=handle, mode="r:") as archive:
            names = [archive_member.name for _, archive_member in zip(range(6), archive, strict=False)]
    except (tarfile.TarError, OSError, ValueError, EOFError):
        return Kind("other", f"is a tar archive, cut off or damaged: {AGAIN}", False)
    if {"sys_info", "pickle", "storages", "tensors"} & {name.removeprefix("./") for name in names}:
        return Kind(
            "other",
            "is a tar as torch wrote before 2017, which is not read: load it with a torch of its time and save its "
            "state_dict again",
        )
    return Kind(
        "other", f"is a tar archive that holds {name_some(names, 5) or 'nothing'}: unpack it, and name the file inside"
    )


def _safetensors_kind(handle: BinaryIO, length: int, size: int) -> Kind:
    handle.seek(8)
    try:
        header = json.loads(handle.read(length))
        last = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return Kind("safetensors", f"has a broken header of safetensors: {AGAIN}", False)
    if 8 + length + last > size:
        lacks = sized(8 + length + last - size)
        return Kind("safetensors", f"is cut off: {lacks} of its {sized(8 + length + last)} are missing; {AGAIN}", False)
    return Kind("safetensors", "holds safetensors: give it the ending .safetensors")
