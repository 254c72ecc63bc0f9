import json
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epicsub.data.annotations import Segment
from epicsub.predictions import Predictions
from epicsub.submission import Levels, check_submission, write_submission


def changed_pt(path, change):
    """The rows of a good file, changed in place or replaced by what `change` returns."""
    rows = torch.load(path, weights_only=True)
    rows = [{key: v.clone() if isinstance(v, torch.Tensor) else v for key, v in row.items()} for row in rows]
    returned = change(rows)
    torch.save(rows if returned is None else returned, path)


def changed_json(path, change):
    with zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read("test.json"))
    returned = change(content)
    rezip(path, {"test.json": json.dumps(content) if returned is None else returned})


def rezip(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def fill(tensor, value):
    tensor[:] = value


def pop(container, key):
    del container[key]


@pytest.mark.parametrize("which", ["pt", "zip", "json_zip"])
def test_a_good_file_passes(written, ids, which):
    found = check_submission(getattr(written, which), ids, 6)
    assert (found.problems, found.warnings, found.segments) == ([], [], 6)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(2, 40),
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([1e-3, 0.1, 1.0, 3.0, 10.0, 60.0]),
    challenge=st.sampled_from(["action_recognition", "domain_adaptation"]),
)
def test_nothing_good_is_refused(tmp_path, make_predictions, provenance, count, seed, spread, challenge):
    names = [f"P{33 + number % 5}_1{number:02d}_{number * 7}" for number in range(count)]
    made = make_predictions(names, seed, spread)
    written = write_submission(tmp_path / "good", made, names, count, Levels(1, 3, 4), provenance, challenge)
    for path in written[:3]:
        for own in (None, made):
            found = check_submission(
                path, names, count, challenge=challenge, own=own, other_lists={"a.csv": ["P01_01_1"]}
            )
            assert (found.problems, found.warnings, found.segments) == ([], [], count)


def test_filled_segments_may_have_the_same_scores_and_others_not(tmp_path, ids, make_predictions, provenance):
    made = make_predictions()
    tables = [table.copy() for table in (made.verb_logprobs, made.noun_logprobs)]
    for table in tables:
        table[[1, 4]] = table[0]
    twins = Predictions(made.narration_ids, *tables)
    for filled, message in (
        ([0, 1, 4], None),
        ([0, 1], "1 segment has the very scores of another, which no model gives two clips: P01_101_4 = P01_101_0"),
        ([], "2 segments have the very scores of another, which no model gives two clips: P01_101_1 = P01_101_0, "
             "P01_101_4 = P01_101_0"),
    ):  # fmt: skip
        provenance["filled_with_prior"] = {"a": [ids[number] for number in filled]}
        written = write_submission(tmp_path / "x", twins, ids, 6, Levels(2, 3, 3), provenance)
        assert check_submission(written.zip, ids, 6).problems == ([message] if message else [])


def test_segments_that_overlap_may_have_one_clip_and_a_few_others_the_same_pictures(
    tmp_path, make_predictions, provenance
):
    names = [f"P01_101_{n}" for n in range(200)]
    made = make_predictions(names)
    tables = [table.copy() for table in (made.verb_logprobs, made.noun_logprobs)]
    for table in tables:
        table[[1, 3, 5]] = table[[0, 2, 4]]
    twins = Predictions(made.narration_ids, *tables)
    times = [(n // 2 * 10 + n % 2, n // 2 * 10 + 5 - n % 2) for n in range(200)]  # 0 and 1 of one centre, 2 and 3, ...
    segments = [
        Segment(name, "P01", "P01_101", start, stop, 1, 2, None, None)
        for name, (start, stop) in zip(names, times, strict=True)
    ]
    written = write_submission(tmp_path / "x", twins, names, 200, Levels(2, 3, 3), provenance)
    found = check_submission(written.zip, names, 200, segments=segments)
    assert (found.problems, found.warnings) == ([], [])
    found = check_submission(written.zip, names, 200, segments=segments[5:])  # 5 is apart now, and 2 of 200 are few
    assert found.problems == ["3 segments have the very scores of another, which no model gives two clips: "
                              "P01_101_1 = P01_101_0, P01_101_3 = P01_101_2, P01_101_5 = P01_101_4"]  # fmt: skip
    for table in tables:
        table[5] = table[6] + 0
        table[6] = made.verb_logprobs[6] if table.shape[1] == 97 else made.noun_logprobs[6]
    few = write_submission(
        tmp_path / "y", Predictions(made.narration_ids, *tables), names, 200, Levels(2, 3, 3), provenance
    )
    found = check_submission(few.zip, names, 200, segments=segments[:5])
    assert found.problems == []
    assert found.warnings == ["1 segment has the very scores of another: are their pictures the same? "
                              "P01_101_6 = P01_101_5"]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_a_json_that_plain_readers_refuse(alone, ids, encoding):
    with zipfile.ZipFile(alone.json_zip) as archive:
        text = archive.read("test.json").decode()
    rezip(alone.json_zip, {"test.json": text.encode(encoding)})
    assert check_submission(alone.json_zip, ids, 6).problems == [
        "test.json begins with a byte-order mark, or is UTF-16; write plain UTF-8"
    ]


def test_without_a_list_it_says_what_it_did_not_do(written):
    found = check_submission(written.zip, None, None)
    assert found.problems == []
    assert found.warnings == ["narration ids were not compared: no list of the test segments was given"]


def test_the_order_of_classes_in_the_json_is_free(alone, ids):
    def backwards(content):
        entry = content["results"]["P01_101_2"]
        entry["verb"] = dict(reversed(entry["verb"].items()))

    changed_json(alone.json_zip, backwards)
    assert check_submission(alone.json_zip, ids, 6).problems == []


def test_everything_at_once(alone, ids):
    def change(rows):
        rows[0]["verb_output"] = rows[0]["verb_output"][:96]
        rows[1]["noun_output"][0] = float("nan")
        rows[2]["narration_id"] = "P09_101_0"
        rows[4]["verb_output"][:] = 1

    changed_pt(alone.pt, change)
    found = check_submission(alone.pt, ids, 9449)
    assert sorted(found.problems) == [
        "1 segment is not in the list: P09_101_0",
        "1 segment of the list is missing: P01_101_2",
        "6 segments, 9449 expected; if your phase takes these, say --count 6",
        "noun scores that are not finite: P01_101_1",
        "verb scores that are the same for every class: P01_101_4",
        "verb_output has 96 values, 97 expected: P01_101_0",
    ]


def test_a_tie_where_the_model_was_sure_is_another_ranking(tmp_path, ids, make_predictions, provenance):
    made = make_predictions(spread=200.0)
    written = write_submission(tmp_path / "sure", made, ids, 6, Levels(2, 3, 3), provenance)
    written.manifest.unlink()
    changed_pt(written.pt, lambda rows: fill(rows[2]["noun_output"][:1], rows[2]["noun_output"].max()))
    problems = check_submission(written.pt, ids, 6, own=made).problems
    assert problems == ["1 of 6 segments rank otherwise than the ensemble says: P01_101_2"]


# Warnings


def test_probabilities_are_a_warning_with_the_reason(alone, ids):
    def change(rows):
        for row in rows:
            row["verb_output"] = row["verb_output"].exp()

    changed_pt(alone.pt, change)
    found = check_submission(alone.pt, ids, 6)
    assert found.problems == []
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("6 verb rows look like probabilities; the scorer takes a softmax")


def test_raw_logits_are_a_warning(alone, ids):
    def change(rows):
        rows[2]["noun_output"] += 40

    changed_pt(alone.pt, change)
    found = check_submission(alone.pt, ids, 6)
    assert found.problems == []
    assert found.warnings[0].startswith("1 noun row is neither log-probabilities nor probabilities")


def test_other_things_beside_are_a_warning(alone, ids):
    with zipfile.ZipFile(alone.json_zip, "a") as archive:
        archive.writestr("__MACOSX/._test.json", "")
    found = check_submission(alone.json_zip, ids, 6)
    assert (found.problems, found.warnings) == ([], ["the zip also holds __MACOSX/._test.json"])
    changed_json(alone.json_zip, lambda content: content.update(team="us"))
    assert check_submission(alone.json_zip, ids, 6).warnings == ["test.json also has team"]


# Files


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"one/test.json": "{}"},
            "one/test.json lies in a folder of the zip; a submission's zip holds one submission.pt",
        ),
        ({"other.txt": ""}, "the zip holds other.txt; a submission's zip"),
        ({}, "the zip holds nothing; a submission's zip"),
        ({"test.json": "{}", "submission.pt": ""}, "the zip holds test.json, submission.pt; a submission's zip"),
        ({"test.json": "{"}, "test.json is not JSON: "),
        ({"submission.pt": ""}, "not a whole torch file: it is empty"),
        ({"submission.pt": "text"}, "not a whole torch file: it is a text"),
    ],
)
def test_zips_of_something_else(tmp_path, entries, message):
    rezip(tmp_path / "x.zip", entries)
    found = check_submission(tmp_path / "x.zip", None, 6)
    assert len(found.problems) == 1
    assert message in found.problems[0]


def test_a_torch_file_that_was_renamed(alone):
    path = alone.pt.rename(alone.pt.with_name("renamed.zip"))
    assert check_submission(path, None, 6).problems[0].startswith("this is a torch file that was named .zip")


@pytest.mark.parametrize(
    ("name", "message"), [("x.csv", "a submission is a .pt or a .zip, not '.csv'"), ("x.zip", "not a whole zip")]
)
def test_files_of_another_kind(tmp_path, name, message):
    (tmp_path / name).write_text("text")
    found = check_submission(tmp_path / name, None, 6)
    assert len(found.problems) == 1
    assert found.problems[0].startswith(message)


def test_no_file(tmp_path):
    assert check_submission(tmp_path / "x.pt", None, 6).problems == ["no such file"]


@pytest.mark.parametrize("which", ["pt", "zip", "json_zip"])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999), cut=st.booleans())
def test_damage_anywhere_is_a_problem_not_a_crash(alone, ids, which, share, cut):
    path = getattr(alone, which)
    whole = path.read_bytes()
    at = int(len(whole) * share)
    damaged = path.with_name(f"damaged{path.suffix}")
    damaged.write_bytes(whole[:at] if cut else whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    found = check_submission(damaged, ids, 6)
    if cut:
        assert found.problems


def test_a_malicious_file_is_not_run(tmp_path):
    trap = tmp_path / "trap"

    class Payload:
        def __reduce__(self):
            return (trap.mkdir, ())

    torch.save([Payload()], tmp_path / "x.pt")
    assert len(check_submission(tmp_path / "x.pt", None, 1).problems) == 1
    assert not trap.exists()


# The manifest beside it


def test_a_folder_that_mixes_two_submissions(written, ids):
    changed_pt(written.pt, lambda rows: fill(rows[0]["verb_output"][:1], -1.0))
    assert check_submission(written.zip, ids, 6).problems == []
    problems = check_submission(written.pt, ids, 6).problems
    assert len(problems) == 1
    assert "was written for another content of submission.pt" in problems[0]


def test_a_manifest_of_something_else_is_a_warning(written, ids):
    written.manifest.write_text("[]")
    found = check_submission(written.pt, ids, 6)
    assert found.problems == []
    assert "not a manifest of epicsub" in found.warnings[0]


def test_float64_numbers_of_others_are_fine_in_json(alone, ids):
    rng = np.random.default_rng(0)

    def change(content):
        for entry in content["results"].values():
            scores = rng.normal(size=97)
            scores -= np.log(np.exp(scores).sum())
            entry["verb"] = {str(number): float(score) for number, score in enumerate(scores)}

    changed_json(alone.json_zip, change)
    found = check_submission(alone.json_zip, ids, 6)
    assert (found.problems, found.warnings) == ([], [])
