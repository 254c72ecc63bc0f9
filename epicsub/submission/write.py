"""Writing a submission: one folder with submission.pt, submission.zip, submission_json.zip and manifest.json.

The files are made in a folder beside it and moved in when all four are whole, the manifest last. Same predictions, same
bytes: dates inside the zips are fixed.
"""

import json
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from epicsub.constants import NUM_NOUNS, NUM_VERBS, __version__
from epicsub.errors import SubmissionError
from epicsub.io import atomic_write, sha256, try_lock, write_text
from epicsub.io.files import os_reason
from epicsub.predictions import PROBABILITY_FLOOR, Predictions, write_organisers_list
from epicsub.submission.ensemble import OTHER_LIST_HINT, floored, missing_of
from epicsub.submission.json_zip import CHALLENGES, write_json_zip, write_zip
from epicsub.submission.supervision import Levels
from epicsub.text import name_some, others_than
from epicsub.validation.tables import read_classes

MANIFEST_KEYS = ("protocol", "views", "filled_with_prior", "members")
MEMBER_KEYS = ("name", "kind", "sha256", "weight")
_CHUNK = 1 << 20
"""Bytes of submission.pt that are compressed in one go."""


class Written(NamedTuple):
    """Where the four files of a submission lie."""

    pt: Path
    """list of {narration_id, verb_output [97], noun_output [300]}, float32 tensors"""
    zip: Path
    """holds submission.pt: the CodaBench phase takes it"""
    json_zip: Path
    """holds test.json: the organisers' format of version 0.2"""
    manifest: Path


def fill_prior(
    members: Mapping[str, Predictions],
    narration_ids: Sequence[str],
    annotations: Path,
    training_list: str,
    most: int | None = None,
) -> tuple[dict[str, Predictions], dict[str, list[str]]]:
    """Give every member that lacks segments the class frequencies of the training list for them.

    Args:
        members: by name.
        narration_ids: the segments that a submission must have.
        annotations: folder of the organisers' tables.
        training_list: file name of the labelled training list.
        most: segments that may be filled per member. Default: half of the list.

    Returns:
        The members, whole; and by member the ids that were filled (members that lacked none are not in it).

    Raises:
        SubmissionError: members that have none of the segments, or lack more than `most`.
        ValidationError: no such table, or its labels are no classes.
    """
    lacking = {name: missing_of(member, narration_ids) for name, member in members.items()}
    lacking = {name: missing for name, missing in lacking.items() if missing}
    if not lacking:
        return dict(members), {}
    _check_fill(members, lacking, narration_ids, len(narration_ids) // 2 if most is None else most)
    path = Path(annotations) / training_list
    verb_V = _log_frequencies(read_classes(path, "verb_class"), NUM_VERBS)
    noun_M = _log_frequencies(read_classes(path, "noun_class"), NUM_NOUNS)
    filled = {name: _with_rows(members[name], missing, verb_V, noun_M) for name, missing in lacking.items()}
    return {**members, **filled}, lacking


def write_submission(
    folder: Path,
    predictions: Predictions,
    test_ids: Sequence[str],
    expected_count: int,
    levels: Levels,
    manifest: Mapping[str, Any],
    challenge: str = CHALLENGES[0],
) -> Written:
    """Write the predictions of exactly the segments of the test list, in its order.

    Args:
        folder: for the four files; those of an earlier submission in it are replaced, other files are left alone.
        predictions: of all segments of the list; more are left out.
        test_ids: narration ids of the list.
        expected_count: what the protocol says that the list has.
        levels: supervision levels.
        manifest: members (name, kind, sha256, weight, ...), protocol, views, filled_with_prior (member: ids).
        challenge: action_recognition, or domain_adaptation, whose test.json has its scores under results_target.

    Returns:
        The paths of the four files.

    Raises:
        SubmissionError: another count, ids that occur twice, missing segments, an incomplete manifest (all at once), no
            such challenge, or a folder that cannot be written or that another process writes. Nothing has been changed
            then.
    """
    from epicsub.training.checkpoint import source_commit  # torch, which checking and planning can do without

    if challenge not in CHALLENGES:
        raise SubmissionError(f"no challenge {challenge!r}; there are {', '.join(CHALLENGES)}")
    _check_segments(predictions, test_ids, expected_count)
    _check_manifest(manifest)
    chosen = predictions.select(test_ids)
    # See `PROBABILITY_FLOOR`: lower log-probabilities could underflow to zero at the organisers' scorer.
    chosen = Predictions(chosen.narration_ids, floored(chosen.verb_logprobs), floored(chosen.noun_logprobs))
    folder = Path(folder)
    names = Written(
        *(folder / name for name in ("submission.pt", "submission.zip", "submission_json.zip", "manifest.json"))
    )
    try:
        with _unfinished(folder) as unfinished:
            made = Written(*(unfinished / path.name for path in names))
            _write_whole(made.pt, lambda path: write_organisers_list(chosen, path))
            with open(made.pt, "rb") as handle:
                _write_whole(
                    made.zip, lambda path: write_zip(path, "submission.pt", iter(lambda: handle.read(_CHUNK), b""))
                )
            _write_whole(made.json_zip, lambda path: write_json_zip(path, chosen, levels, challenge))
            # Nothing in it depends on the hour, so the same members and code give the same manifest.
            versions = {"epicsub": __version__, "python": platform.python_version()}
            content = {
                **manifest,
                "challenge": challenge,
                "segments": {"written": len(chosen), "expected": expected_count},
                "levels": levels.as_json(),
                "commit": source_commit(),
                "versions": versions | {name: version(name) for name in ("torch", "numpy")},
                "files": {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in made[:3]},
            }
            write_text(made.manifest, json.dumps(content, indent=2) + "\n")
            folder.mkdir(exist_ok=True)
            for temporary, path in zip(made, names, strict=True):
                temporary.replace(path)
    except OSError as error:
        raise SubmissionError(
            f"{folder}: the submission cannot be written: {os_reason(error)}; --name takes the path of another "
            "place, too"
        ) from error
    return names


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """Hold a hidden folder beside a submission's, for its files until all are whole; a killed run's is used again."""
    place = folder.with_name(f".{folder.name}.unfinished")
    place.mkdir(parents=True, exist_ok=True)
    lock = try_lock(place / "lock")
    if lock is None:
        raise SubmissionError(f"{folder}: another process is writing this submission; wait for it, or stop it")
    try:
        for path in place.iterdir():
            if path.name != "lock":
                path.unlink()
        yield place
    finally:
        lock.release()
        shutil.rmtree(place, ignore_errors=True)


def _check_fill(
    members: Mapping[str, Predictions], lacking: Mapping[str, list[str]], narration_ids: Sequence[str], most: int
) -> None:
    """Refuse members of which little or nothing would be left."""
    problems = []
    for name, missing in lacking.items():
        others = others_than(members[name].narration_ids.tolist(), narration_ids)
        if len(missing) == len(narration_ids):
            problems.append(
                f"{name} has none of the {len(narration_ids)} segments ({name_some(missing, 3)}){others}; the class "
                f"prior alone is no prediction. {OTHER_LIST_HINT}"
            )
        elif len(missing) > most:
            problems.append(
                f"{name} lacks {len(missing)} of {len(narration_ids)} segments: {name_some(missing)}{others}; "
                f"--fill prior fills at most {most} here. Predict the whole list; if the class prior is meant to stand "
                f"in so many places, say --fill-count {len(missing)}"
            )
    if problems:
        raise SubmissionError("\n".join(problems))


def _check_segments(predictions: Predictions, test_ids: Sequence[str], expected_count: int) -> None:
    problems = []
    if len(test_ids) != expected_count:
        problems.append(
            f"the test list has {len(test_ids)} segments, {expected_count} expected; "
            f"if this is the list of your phase, say --count {len(test_ids)}"
        )
    if twice := [name for name, count in Counter(test_ids).items() if count > 1]:
        problems.append(f"the test list names segments more than once: {name_some(twice)}")
    if missing := missing_of(predictions, test_ids):
        problems.append(
            f"no predictions for {len(missing)} of {len(test_ids)} segments: {name_some(missing)}"
            f"{others_than(predictions.narration_ids.tolist(), test_ids)}; "
            "predict the whole list, or say --fill prior to put the training class prior there"
        )
    if problems:
        raise SubmissionError("\n".join(problems))


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    problems = [f"the manifest lacks {key}, give it" for key in MANIFEST_KEYS if key not in manifest]
    for index, member in enumerate(manifest.get("members", [])):
        name = member.get("name", f"number {index + 1}")
        problems += [f"the manifest's member {name} lacks {key}, give it" for key in MEMBER_KEYS if key not in member]
    if "members" in manifest and not manifest["members"]:
        problems.append("members of manifest.json: there is none, name one at least")
    if problems:
        raise SubmissionError("\n".join(problems))


def _write_whole(path: Path, write: Callable[[Path], None]) -> None:
    with atomic_write(path) as temporary:
        write(temporary)


def _log_frequencies(classes: Sequence[int], number: int) -> np.ndarray:
    counts = np.bincount(classes, minlength=number)
    if len(counts) > number:
        raise SubmissionError(f"the training list has a class {len(counts) - 1}, {number} classes expected")
    return floored(np.log(np.maximum(counts / counts.sum(), PROBABILITY_FLOOR)))


def _with_rows(member: Predictions, names: list[str], verb_V: np.ndarray, noun_M: np.ndarray) -> Predictions:
    return Predictions(
        np.concatenate([member.narration_ids, np.array(names, dtype=np.str_)]),
        np.concatenate([member.verb_logprobs, np.tile(verb_V, (len(names), 1))]),
        np.concatenate([member.noun_logprobs, np.tile(noun_M, (len(names), 1))]),
    )
