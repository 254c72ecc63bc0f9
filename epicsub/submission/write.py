"""Writing a submission: one folder with submission.pt, submission.zip, submission_json.zip and manifest.json.

The files are made in a folder beside it and moved in when all four are whole, the manifest last. Same predictions, same
bytes: dates inside the zips are fixed.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np

from epicsub.errors import SubmissionError
from epicsub.files import write_text, written_whole
from epicsub.predictions import PROBABILITY_FLOOR, Predictions, name_some, write_organisers_list
from epicsub.submission.ensemble import missing_of
from epicsub.submission.manifest import check_story, complete
from epicsub.submission.supervision import Levels
from epicsub.vocab import NUM_NOUNS, NUM_VERBS

JSON_VERSION = "0.2"
CHALLENGE = "action_recognition"
_NO_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can state


class Written(NamedTuple):
    """Where the four files of a submission lie."""

    pt: Path
    """list of {narration_id, verb_output [97], noun_output [300]}, float32 tensors"""
    zip: Path
    """holds submission.pt: the CodaBench phase takes it"""
    json_zip: Path
    """holds test.json: the organisers' format of version 0.2"""
    manifest: Path


def write_submission(
    folder: Path,
    predictions: Predictions,
    test_ids: Sequence[str],
    expected_count: int,
    levels: Levels,
    manifest: Mapping[str, Any],
) -> Written:
    """Write the predictions of exactly the segments of the test list, in its order.

    Args:
        folder: for the four files; those of an earlier submission in it are replaced, other files are left alone.
        predictions: of all segments of the list; more are left out.
        test_ids: the list.
        expected_count: what the protocol says that the list has.
        levels: supervision levels.
        manifest: members (name, kind, sha256, weight, ...), protocol, views, filled_with_prior (member: ids).

    Raises:
        SubmissionError: another count, ids that occur twice, missing segments, an incomplete manifest (all at once), or
            a folder that cannot be written. Nothing has been changed then.
    """
    _check(predictions, test_ids, expected_count)
    check_story(manifest)
    from epicsub.training.checkpoint import source_commit

    chosen = _floored(predictions.select(test_ids))
    folder = Path(folder)
    names = Written(
        *(folder / name for name in ("submission.pt", "submission.zip", "submission_json.zip", "manifest.json"))
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", suffix=".unfinished") as unfinished:
            made = Written(*(Path(unfinished) / path.name for path in names))
            _write_whole(made.pt, lambda path: write_organisers_list(chosen, path))
            _write_whole(made.zip, lambda path: _zip_file(made.pt, path))
            _write_whole(made.json_zip, lambda path: _zip_json(chosen, levels, path))
            content = complete(manifest, len(chosen), expected_count, levels, source_commit(), made[:3])
            write_text(made.manifest, json.dumps(content, indent=2) + "\n")
            folder.mkdir(exist_ok=True)
            for source, place in zip(made, names, strict=True):
                source.replace(place)
    except OSError as error:
        raise SubmissionError(f"{folder}: the submission cannot be written: {error.strerror or error}") from error
    return names


def _check(predictions: Predictions, test_ids: Sequence[str], expected_count: int) -> None:
    problems = []
    if len(test_ids) != expected_count:
        problems.append(
            f"the test list has {len(test_ids)} segments, {expected_count} expected; "
            f"if this is the list of your phase, say --count {len(test_ids)}"
        )
    if len(set(test_ids)) < len(test_ids):
        seen: set[str] = set()
        twice = [name for name in test_ids if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        problems.append(f"the test list names segments more than once: {name_some(twice)}")
    if missing := missing_of(predictions, test_ids):
        problems.append(
            f"no predictions for {len(missing)} of {len(test_ids)} segments: {name_some(missing)}; "
            "predict the whole list, or say --fill prior to put the training class prior there"
        )
    if problems:
        raise SubmissionError("\n".join(problems))


def _floored(predictions: Predictions) -> Predictions:
    """See `PROBABILITY_FLOOR`: lower log-probabilities could underflow to zero at the organisers' scorer."""
    lowest = np.float32(np.log(PROBABILITY_FLOOR))
    return Predictions(
        predictions.narration_ids,
        np.maximum(predictions.verb_logprobs, lowest),
        np.maximum(predictions.noun_logprobs, lowest),
    )


def _write_whole(path: Path, write: Callable[[Path], None]) -> None:
    with written_whole(path) as temporary:
        write(temporary)


def _zip_file(content: Path, path: Path) -> None:
    with (
        ZipFile(path, "w", ZIP_DEFLATED) as archive,
        archive.open(_entry("submission.pt"), "w") as entry,
        open(content, "rb") as handle,
    ):
        shutil.copyfileobj(handle, entry, 1 << 20)


def _zip_json(predictions: Predictions, levels: Levels, path: Path) -> None:
    with ZipFile(path, "w", ZIP_DEFLATED) as archive, archive.open(_entry("test.json"), "w") as entry:
        for text in json_pieces(predictions, levels):
            entry.write(text.encode("ascii"))


def json_pieces(predictions: Predictions, levels: Levels) -> Iterator[str]:
    """The text of test.json, a segment at a time: at 13,092 segments it is 100 MB.

    Each number is the shortest decimal that reads back as the same float32, so the ranking of every row and of every
    pair is that of submission.pt. Four decimals would tie classes in a third of rows, six in one of a thousand.
    """
    head = {"version": JSON_VERSION, "challenge": CHALLENGE, **levels.as_json()}
    yield json.dumps(head)[:-1] + ', "results": {'
    verbs, nouns = (
        "{" + ", ".join(f'"{number}": %s' for number in range(classes)) + "}" for classes in (NUM_VERBS, NUM_NOUNS)
    )
    rows = zip(predictions.narration_ids.tolist(), predictions.verb_logprobs, predictions.noun_logprobs, strict=True)
    between = ""
    for name, verb_V, noun_M in rows:
        scores = f'{{"verb": {verbs % _decimals(verb_V)}, "noun": {nouns % _decimals(noun_M)}}}'
        yield f"{between}{json.dumps(name)}: {scores}"
        between = ", "
    yield "}}"


def _decimals(scores_C: np.ndarray) -> tuple[str, ...]:
    return tuple(scores_C.astype(np.str_).tolist())


def _entry(name: str) -> ZipInfo:
    entry = ZipInfo(name, date_time=_NO_DATE)
    entry.compress_type = ZIP_DEFLATED
    entry.create_system = 3  # Unix on every system, so that the bytes are the same
    entry.external_attr = 0o644 << 16
    return entry
