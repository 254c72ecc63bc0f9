"""Everything that is wrong with a submission, against the lists of a protocol."""

from dataclasses import replace
from pathlib import Path

from epicsub.api import data_root
from epicsub.data.annotations import read_ids, read_segments
from epicsub.io import user_path
from epicsub.submission import Findings
from epicsub.submission import check_submission as check_file
from epicsub.validation import find_protocol


def check_submission(
    path: str | Path,
    test_list: Path | None = None,
    *,
    protocol: str | Path | None = None,
    data: str | Path | None = None,
    count: int | None = None,
) -> Findings:
    """Reopen a submission and find everything that is wrong with it.

    Args:
        path: submission.pt, submission.zip or submission_json.zip.
        test_list: CSV of the segments. Default: the protocol's under the data root, if it is there.
        protocol: path or name. Default: ek100.
        data: the data root. Default: $EPICSUB_DATA, else `data/`.
        count: number of segments that the file must have. Default: the protocol's.

    Returns:
        Problems and warnings; a file without problems may be uploaded.

    Raises:
        EpicsubError: a protocol or a list that is missing or damaged.
    """
    protocol_used = find_protocol(protocol).protocol
    folder = data_root(data).path / "annotations"
    listed = user_path(test_list) if test_list else folder / protocol_used.test.list
    segments = read_segments(listed) if test_list or listed.is_file() else None
    ids = None if segments is None else [segment.narration_id for segment in segments]
    labelled = [
        name for name in (protocol_used.validation.list, protocol_used.training_list) if (folder / name).is_file()
    ]
    others = {name: read_ids(folder / name, "narration_id") for name in labelled}
    expected = count or protocol_used.test.count
    found = check_file(user_path(path), ids, expected, challenge=protocol_used.challenge, other_lists=others)
    against = f"the count alone ({listed} is not there)" if ids is None else f"the {len(ids)} ids of {listed}"
    warnings = found.warnings
    if segments and segments[0].verb_class is not None:
        warnings = [f"{listed} has labels; the test list of the challenge has none", *warnings]
    return replace(found, warnings=warnings, against=against)
