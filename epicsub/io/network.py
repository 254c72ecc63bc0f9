"""Whether a server can be reached at all, found out within seconds, and downloads that cannot hang."""

import logging
import os
import shutil
import time
from functools import lru_cache
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from epicsub.io import atomic_write

PATIENCE = 3.0
"""Seconds within which a server that is there has answered."""
REMEMBERED = 30.0
"""Seconds for which an answer, or none, is taken to hold."""
STALLED = 20.0
"""Seconds without a byte after which a download is given up."""
_SLOW = "no answer in time"
log = logging.getLogger(__name__)


def why_unreachable(url: str, seconds: float = PATIENCE) -> str:
    """Ask a server for a sign of life; any answer counts, of a proxy too.

    Args:
        url: of the server, or of a file on it.
        seconds: to wait, at most half a second more.

    Returns:
        Empty where it answers, else why not. What was found is good for half a minute: a recipe may name several files.
    """
    parts = urlsplit(url)
    return _why_unreachable(f"{parts.scheme}://{parts.netloc}/", seconds, int(time.monotonic() // REMEMBERED))


@lru_cache(maxsize=32)
def _why_unreachable(url: str, seconds: float, period: int) -> str:
    del period  # part of the key
    found = [f"no answer within {seconds:.0f} s"]

    def ask() -> None:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=seconds):
                found.append("")
        except HTTPError:
            found.append("")  # it has no such page, but it speaks
        except (OSError, ValueError) as error:
            if (reason := reason_of(error)) != _SLOW:
                found.append(reason)

    # In a thread: a timeout does not count the time in which the host's name is looked up.
    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds + 0.5)
    return found[-1]


def hub_address() -> str:
    """Name the Hugging Face hub that is asked.

    Returns:
        $HF_ENDPOINT, else the public one.
    """
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def fetch(url: str, path: Path) -> str:
    """Fetch a file, if its server gives a sign of life.

    Args:
        url: of the file.
        path: to write.

    Returns:
        Empty where it is there now, else why not.
    """
    if silence := why_unreachable(url):
        return silence
    try:
        log.info("downloading %s to %s", url, path)
        download(url, path)
    except OSError as error:  # no such file, a server that stalls, a full disk
        return reason_of(error)
    return ""


def download(url: str, path: Path) -> None:
    """Fetch a file, whole or not at all.

    Args:
        url: of the file.
        path: to write; its folder is made.

    Raises:
        OSError: the server cannot be reached, refuses, stalls or ends early, or the place cannot be written.
    """
    with urlopen(url, timeout=STALLED) as answer, atomic_write(path) as temporary:
        with open(temporary, "wb") as handle:
            shutil.copyfileobj(answer, handle)
            size = handle.tell()
        expected = answer.headers.get("Content-Length")
        if expected is not None and size != int(expected):
            raise OSError(f"the download ended after {size} of {expected} bytes")


def reason_of(error: OSError | ValueError) -> str:
    """Say why a request failed, without the words of a library.

    Args:
        error: raised by `urllib`, or by what stands on sockets.

    Returns:
        A few words.
    """
    if isinstance(error, HTTPError):
        return f"the server answered {error.code}"
    inner = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
    if isinstance(inner, TimeoutError):
        return _SLOW
    if isinstance(inner, OSError) and inner.errno and inner.errno > 0 and inner.strerror:
        return inner.strerror  # names that are not found have numbers below 0
    return "cannot reach it from here, there may be no network"
