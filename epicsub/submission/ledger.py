"""The ledger: which submissions there are, which of them were uploaded when, and how many uploads are left.

`submissions/uploads.json` lies beside the submissions' folders and is kept by git as their manifests are. An upload is
written down by hand, after the fact: this program sends nothing anywhere.
"""

import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from epicsub.errors import SubmissionError
from epicsub.io import sha256, write_text
from epicsub.io.files import os_reason, read_text
from epicsub.submission.json_zip import CHALLENGES
from epicsub.text import name_some

LEDGER = "uploads.json"
MANIFEST = "manifest.json"
COLUMNS = ("submission", "members", "segments", "filled", "validation", "sls pt/tl/td", "uploaded")
UPLOAD_KEYS = ("name", "day", "challenge", "manifest_sha256")


@dataclass(frozen=True)
class Limits:
    """What a phase takes; a malformed upload counts like any other. The defaults are the challenge's of 2026."""

    per_day: int = 1
    in_all: int = 50


@dataclass(frozen=True)
class Upload:
    """One upload, as the ledger keeps it."""

    name: str
    """the submission's folder"""
    day: str
    """YYYY-MM-DD, UTC"""
    challenge: str
    manifest_sha256: str
    """of the manifest as it was then: a folder that was written anew since is another submission"""


@dataclass(frozen=True)
class Entry:
    """A submission's folder."""

    name: str
    manifest: dict[str, Any]
    manifest_sha256: str

    @property
    def challenge(self) -> str:
        """The challenge it was written for; the first manifests did not say it."""
        return str(self.manifest.get("challenge", CHALLENGES[0]))

    @property
    def validation(self) -> str:
        """Recorded action top-1 of each member and its interval, as far as there is one."""
        name = "all_action_accuracy_at_1"
        shown = []
        for record in (record for member in self.manifest["members"] for record in member.get("validation", [])):
            if name in record["scores"]:
                low, high = record["intervals"].get(name, (None, None))
                between = f" ({low:.1f} to {high:.1f})" if low is not None else ""
                shown.append(f"{record['scores'][name]:.1f}{between}")
        return " / ".join(shown)


@dataclass(frozen=True)
class Ledger:
    """Everything under submissions/."""

    folder: Path
    entries: list[Entry]
    uploads: list[Upload]

    def of(self, entry: Entry) -> list[Upload]:
        """List the uploads of a submission as it lies there now.

        Args:
            entry: the submission.

        Returns:
            Its uploads.
        """
        return [upload for upload in self.uploads if upload.manifest_sha256 == entry.manifest_sha256]

    def used(self, challenge: str, day: date | None = None) -> int:
        """Count uploads.

        Args:
            challenge: to which.
            day: on which. Default: all.

        Returns:
            Their number.
        """
        days = [upload.day for upload in self.uploads if upload.challenge == challenge]
        return len(days) if day is None else days.count(day.isoformat())

    def rows(self) -> list[list[str]]:
        """Lay the submissions out as a table.

        Returns:
            A row per submission, with the cells of `COLUMNS`.
        """
        rows = []
        for entry in self.entries:
            manifest = entry.manifest
            filled = {name for names in manifest.get("filled_with_prior", {}).values() for name in names}
            levels = (str(manifest.get("levels", {}).get(f"sls_{kind}", "?")) for kind in ("pt", "tl", "td"))
            rows.append(
                [
                    entry.name,
                    ", ".join(str(member.get("name")) for member in manifest["members"]),
                    str(manifest.get("segments", {}).get("written", "")),
                    str(len(filled) or ""),
                    entry.validation,
                    "/".join(levels),
                    ", ".join(upload.day for upload in self.of(entry)) or "no",
                ]
            )
        return rows

    def report(self, day: date, limits: Limits) -> list[str]:
        """Describe what is used and what is left.

        Args:
            day: today, UTC.
            limits: of the phase.

        Returns:
            A line per challenge, and one of uploads whose submission is no longer as it was.
        """
        lines = []
        challenges = {upload.challenge for upload in self.uploads} | {entry.challenge for entry in self.entries}
        for challenge in sorted(challenges or {CHALLENGES[0]}):
            used, today = self.used(challenge), self.used(challenge, day)
            lines.append(
                f"{challenge}: {used} of {limits.in_all} uploads used, {max(0, limits.in_all - used)} left; "
                f"{today} of {limits.per_day} on {day.isoformat()} (UTC)"
            )
        there = {entry.manifest_sha256 for entry in self.entries}
        changed = [f"{upload.name} ({upload.day})" for upload in self.uploads if upload.manifest_sha256 not in there]
        if changed:
            lines.append(f"uploaded, but no longer as it lies there: {', '.join(changed)}")
        return lines


def read_ledger(folder: Path) -> Ledger:
    """Read the manifests and the uploads under `submissions/`; a folder that is not there holds none.

    Args:
        folder: of the submissions.

    Returns:
        The ledger.

    Raises:
        SubmissionError: manifests or a ledger that are not such; all at once.
    """
    entries, problems = [], []
    for path in sorted(folder.glob(f"[!.]*/{MANIFEST}")):
        content = _read_json(path)
        if isinstance(content, dict) and isinstance(content.get("members"), list) and "files" in content:
            entries.append(Entry(path.parent.name, content, sha256(path)))
        else:
            problems.append(f"{path}: not a manifest of epicsub; move the folder away, or submit again")
    uploads: list[Upload] = []
    ledger = folder / LEDGER
    if ledger.is_file():
        try:
            uploads = [_upload(item) for item in _read_json(ledger)["uploads"]]
        except (TypeError, KeyError, ValueError):
            keys = ", ".join(UPLOAD_KEYS)
            problems.append(f"{ledger}: not a ledger ({{uploads: [{{{keys}}}, ...]}}); restore it: git keeps it")
    if problems:
        raise SubmissionError("\n".join(problems))
    return Ledger(folder, entries, uploads)


def mark_uploaded(ledger: Ledger, name: str, day: date, today: date, limits: Limits) -> Upload:
    """Write down that a submission was uploaded on a day.

    Args:
        ledger: as `read_ledger` gives it.
        name: of the submission.
        day: of the upload, UTC.
        today: UTC.
        limits: of the phase.

    Returns:
        The upload, as it is written.

    Raises:
        SubmissionError: no such submission, files that are not what its manifest says, a day to come, or more than the
            phase takes, a day or in all; all at once. Nothing has been written then.
    """
    entry = next((entry for entry in ledger.entries if entry.name == name), None)
    if entry is None:
        there = name_some([entry.name for entry in ledger.entries]) or "none yet"
        raise SubmissionError(f"{ledger.folder / name}: no such submission (there: {there})")
    problems = _changed_files(ledger.folder / name, entry)
    if day > today:
        problems.append(f"{day} is still to come: today is {today} (UTC); give the day that it was")
    that_day = [
        upload.name for upload in ledger.uploads if (upload.challenge, upload.day) == (entry.challenge, str(day))
    ]
    if len(that_day) >= limits.per_day:
        problems.append(
            f"{entry.challenge} takes {limits.per_day} upload a day, and {', '.join(that_day)} went on {day}; "
            "give the day that it was, --day YYYY-MM-DD, or --per-day if your phase takes more"
        )
    if ledger.used(entry.challenge) >= limits.in_all:
        problems.append(
            f"{entry.challenge} takes {limits.in_all} uploads in all, and {ledger.used(entry.challenge)} went; "
            "give --in-all if your phase takes more"
        )
    if problems:
        raise SubmissionError("\n".join(problems))
    upload = Upload(name, day.isoformat(), entry.challenge, entry.manifest_sha256)
    uploads = sorted([*ledger.uploads, upload], key=lambda upload: upload.day)
    content = {"uploads": [asdict(upload) for upload in uploads]}
    path = ledger.folder / LEDGER
    try:
        write_text(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise SubmissionError(
            f"{path}: cannot be written: {os_reason(error)}; copy the folder to where you may write, and name that "
            "with --folder"
        ) from error
    return upload


def _changed_files(folder: Path, entry: Entry) -> list[str]:
    """The .pt and the zips need not be there any more, but those that are must be what was written."""
    stated = {folder / name: file.get("sha256") for name, file in entry.manifest["files"].items()}
    return [
        f"{path} is not the file that {folder / MANIFEST} was written with; submit again, or restore it"
        for path, digest in stated.items()
        if path.is_file() and sha256(path) != digest
    ]


def _upload(item: dict[str, str]) -> Upload:
    upload = Upload(**{key: item[key] for key in UPLOAD_KEYS})
    date.fromisoformat(upload.day)
    return upload


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path, SubmissionError))
    except (SubmissionError, ValueError, RecursionError):
        return None
