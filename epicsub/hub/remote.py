"""Carrying a published model to the hub and back.

What is fetched lies in $HF_HOME/epicsub/OWNER--NAME/COMMIT. It is fetched into a hidden folder beside, compared with
its note, and renamed: the cache holds whole models alone. Uploads go through plain HTTP, one commit for all files: a
repository has the whole model or none of it.
"""

import os
import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from filelock import FileLock, Timeout
from huggingface_hub import CommitOperationAdd, HfApi, constants, is_offline_mode
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from epicsub.errors import HubError
from epicsub.hub.folder import FILES, NOTE, check_files, read_note
from epicsub.io import user_path
from epicsub.io.files import os_reason
from epicsub.io.network import hub_address, reason_of, why_unreachable
from epicsub.text import name_some

SCHEME = "hf://"
ANSWER = 5.0  # seconds for a question; a file may take as long as it needs, while bytes come
WAIT = 600  # seconds for another process that fetches the same model
_ADDRESS = re.compile(r"(?:hf://)?([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")


@dataclass(frozen=True)
class Address:
    """A repository of the hub, at a revision."""

    repository: str
    """OWNER/NAME"""
    revision: str | None = None
    """A branch, a tag or a commit; None for the default branch."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def parse_address(text: str) -> Address:
    """Read the address of a model.

    Args:
        text: like hf://ORG/NAME, hf://ORG/NAME@v1 or ORG/NAME.

    Returns:
        The address.

    Raises:
        HubError: the text is not of that form.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or ".." in text or "--" in text:
        raise HubError(f"{text}: not a model of the hub; write hf://ORG/NAME, or hf://ORG/NAME@REVISION")
    return Address(f"{match[1]}/{match[2]}", match[3])


def pull(address: Address) -> Path:
    """Fetch a published model into the cache, or find it there.

    Args:
        address: of the model.

    Returns:
        Its folder.

    Raises:
        HubError: the hub cannot be reached or refuses, or the repository holds no whole model of epicsub.
    """
    place = cache_folder() / address.repository.replace("/", "--")
    if re.fullmatch(r"[0-9a-f]{40}", address.revision or "") and (place / str(address.revision)).is_dir():
        return place / str(address.revision)
    api, kept = _hub(address, place), f"{address}: nothing was kept"
    try:
        info = api.model_info(address.repository, revision=address.revision, timeout=ANSWER)
    except Exception as error:  # of whichever HTTP library huggingface_hub stands on
        raise HubError(f"{address}: {_why(error)}; check the address and run the command again") from error
    names = sorted(file.rfilename for file in info.siblings or ())
    if missing := [name for name in FILES if name not in names]:
        raise HubError(
            f"{address}: no model of epicsub: lacks {', '.join(missing)} (it has {name_some(names, 5) or 'nothing'}); "
            "name one that `epicsub hub push` wrote"
        )
    commit = str(info.sha)
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise HubError(f"{address}: {hub_address()} does not speak as the hub does; check $HF_ENDPOINT")
    target = place / commit
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock", timeout=WAIT):
            for left in place.glob(".fetching-*"):  # by one that was killed: no other is at work now
                shutil.rmtree(left, ignore_errors=True)
            if not target.is_dir():
                _fetch(api, address, commit, target)
    except Timeout as error:
        raise HubError(
            f"{place}: another process has been fetching there for {WAIT} s; wait for it, or stop it"
        ) from error
    except HubError:
        raise
    except OSError as error:
        if error.errno and error.filename:
            raise HubError(f"{place}: cannot be written: {os_reason(error)}; $HF_HOME names another place") from error
        raise HubError(f"{kept}: {_why(error)}; run the command again") from error
    except Exception as error:  # as above
        raise HubError(f"{kept}: {_why(error)}; run the command again") from error
    return target


def _fetch(api: HfApi, address: Address, commit: str, target: Path) -> None:
    """Fetch the files into a folder beside, which is renamed when they are whole."""
    fetching = Path(mkdtemp(dir=target.parent, prefix=".fetching-"))
    try:
        for name in FILES:
            api.hf_hub_download(address.repository, name, revision=commit, local_dir=fetching, etag_timeout=ANSWER)
            if name == NOTE:  # small, and says what the others must be
                note = read_note(fetching)
        check_files(fetching, note)
        shutil.rmtree(fetching / ".cache", ignore_errors=True)
        fetching.rename(target)
    except HubError as error:  # which names the hidden folder
        raise HubError(str(error).replace(str(fetching), str(address))) from error
    finally:
        shutil.rmtree(fetching, ignore_errors=True)


def push(folder: Path, address: Address, private: bool) -> str:
    """Upload a published model in one commit.

    Args:
        folder: see `folder.write_folder`.
        address: of the repository, made where it is missing.
        private: make it so that its owner alone sees it.

    Returns:
        The commit.

    Raises:
        HubError: the hub cannot be reached or refuses, or the repository holds something else.
    """
    api = _hub(address, None)
    try:
        api.create_repo(address.repository, private=private, exist_ok=True)
        there = api.model_info(address.repository, timeout=ANSWER).siblings or ()
        names = {file.rfilename for file in there} - {".gitattributes"}
        if names - {"README.md", "LICENSE"} and NOTE not in names:
            raise HubError(
                f"{address}: holds something else ({name_some(sorted(names), 5)}), which is left alone; name a new "
                "repository"
            )
        with ExitStack() as stack:
            # As open files: those go through HTTP, which every server speaks, and not through a protocol of its own.
            files = [(name, stack.enter_context(open(folder / name, "rb"))) for name in FILES]
            made = api.create_commit(
                address.repository,
                [CommitOperationAdd(name, handle) for name, handle in files],
                commit_message="Publish a model of epicsub",
                revision=address.revision,
            )
    except HubError:
        raise
    except Exception as error:  # of whichever HTTP library huggingface_hub stands on
        raise HubError(
            f"{address}: {_why(error)}; the upload has not become part of the repository: run the command again"
        ) from error
    return str(made.oid)


def cache_folder() -> Path:
    """Name the folder that models are fetched into.

    Returns:
        `epicsub` within $HF_HOME, where huggingface_hub keeps its own.
    """
    return user_path(os.environ.get("HF_HOME") or constants.HF_HOME) / "epicsub"


def _hub(address: Address, place: Path | None) -> HfApi:
    """The hub, once it has given a sign of life."""
    offline = is_offline_mode()
    silence = "$HF_HUB_OFFLINE is set" if offline else why_unreachable(hub_address())
    if silence:
        kept = sorted(folder.name for folder in place.glob("[!.]*")) if place and place.is_dir() else []
        there = f"; fetched before: {', '.join(f'{SCHEME}{address.repository}@{one}' for one in kept)}" if kept else ""
        looked = f" Also looked in {place}." if place else ""
        raise HubError(
            f"{address}: {hub_address()}: {silence}.{looked} Try again with a network, or name a folder that "
            f"`epicsub hub pull` wrote{there}"
        )
    return HfApi(endpoint=hub_address(), library_name="epicsub")


# The kinds of one are kinds of others: the first that fits counts.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (GatedRepoError, "its owner asks for a login: `hf auth login`, and ask for access on its page"),
    (RevisionNotFoundError, "has no such revision: name another"),
    (RepositoryNotFoundError, "no such repository, or a private one that this token may not see ({LOGIN})"),
    (RemoteEntryNotFoundError, "a file of it is gone; try again"),
)
LOGIN = "`hf auth login`, or $HF_TOKEN"


def _why(error: BaseException) -> str:
    """Why the hub did not do what it was asked, in our words."""
    while error.__cause__ is not None and not isinstance(error, HfHubHTTPError):
        error = error.__cause__
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason.format(LOGIN=LOGIN)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        refused = f"the token is wrong or may not do that: use {LOGIN} of one who may"
        return refused if status in (401, 403) else f"the server answered {status}: try again later"
    if isinstance(error, OSError):
        return f"{reason_of(error)}: try again"
    if type(error).__module__.startswith("http"):
        return "the connection broke off, or no answer came in time: try again"
    return "its answer is not that of a hub; check $HF_ENDPOINT"
