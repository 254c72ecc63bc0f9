"""What a submission is made of, so that a number on the leaderboard can be traced to its members and its code."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from epicsub import __version__
from epicsub.errors import SubmissionError
from epicsub.io import sha256
from epicsub.submission.supervision import Levels

MEMBER_KEYS = ("name", "kind", "sha256", "weight")
KEYS = ("protocol", "views", "filled_with_prior", "members")


def check_story(story: Mapping[str, Any]) -> None:
    """Refuse a manifest that leaves out what only the caller knows.

    Raises:
        SubmissionError: keys that are missing, of the manifest or of a member; all at once.
    """
    problems = [f"the manifest lacks {key}" for key in KEYS if key not in story]
    for index, member in enumerate(story.get("members", [])):
        name = member.get("name", f"number {index + 1}")
        problems += [f"the manifest's member {name} lacks {key}" for key in MEMBER_KEYS if key not in member]
    if "members" in story and not story["members"]:
        problems.append("the manifest names no member")
    if problems:
        raise SubmissionError("\n".join(problems))


def recorded_scores(digest: str, folder: Path) -> list[dict[str, Any]]:
    """What `epicsub validate --record` kept of a checkpoint: scores in percent, with their 95 % intervals.

    Args:
        digest: SHA-256 of the checkpoint; a record of another content does not count.
        folder: of the records.

    Raises:
        SubmissionError: a record that cannot be read; all at once.
    """
    found, problems = [], []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["from"]["sha256"] == digest:
                kept = {key: record[key] for key in ("protocol", "coverage", "scores", "intervals")}
                found.append({"record": path.name, "views": record["from"].get("views"), **kept})
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{path}: not a record of `epicsub validate --record` ({type(error).__name__}: {error})")
    if problems:
        raise SubmissionError("\n".join(problems))
    return found


def complete(
    story: Mapping[str, Any], segments: int, expected: int, levels: Levels, commit: str, files: Sequence[Path]
) -> dict[str, Any]:
    """The whole manifest: the caller's story, then counts, levels, commit, versions and the files' content.

    Nothing in it depends on the hour, so the same members and code give the same manifest.
    """
    versions = {"epicsub": __version__, "python": platform.python_version()}
    return {
        **story,
        "segments": {"written": segments, "expected": expected},
        "levels": levels.as_json(),
        "commit": commit,
        "versions": versions | {name: version(name) for name in ("torch", "numpy")},
        "files": {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in files},
    }
