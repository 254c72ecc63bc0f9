import json
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epicsub.submission import check_submission


class Unknown:
    """Something that weights_only refuses."""


@pytest.fixture
def alone(written):
    """The good submission without the manifest, which knows the good content."""
    written.manifest.unlink()
    return written


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


def test_without_a_list_it_says_what_it_did_not_do(written):
    found = check_submission(written.zip, None, None)
    assert found.problems == []
    assert found.warnings == ["narration ids were not compared: no list of the test segments was given"]


PT = {
    "short_row": (
        lambda r: r[2].update(verb_output=r[2]["verb_output"][:96]),
        "verb_output has 96 values, 97 expected: P01_101_2",
    ),
    "long_rows": (
        lambda r: [{**row, "noun_output": torch.zeros(352)} for row in r],
        "noun_output has 352 values, 300 expected: P01_101_0, P01_101_1, P01_101_2, P01_101_3, P01_101_4, P01_101_5",
    ),
    "matrix": (
        lambda r: r[0].update(verb_output=r[0]["verb_output"][None]),
        "verb_output has the shape [1, 97], [97] expected: P01_101_0",
    ),
    "double": (
        lambda r: r[1].update(verb_output=r[1]["verb_output"].double()),
        "verb_output is float64, float32 expected: P01_101_1",
    ),
    "half": (
        lambda r: r[1].update(noun_output=r[1]["noun_output"].half()),
        "noun_output is float16, float32 expected: P01_101_1",
    ),
    "floats": (
        lambda r: r[1].update(noun_output=r[1]["noun_output"].tolist()),
        "noun_output is a list, a torch tensor expected: P01_101_1",
    ),
    "nan": (lambda r: fill(r[3]["verb_output"][5:6], float("nan")), "verb scores that are not finite: P01_101_3"),
    "infinite": (lambda r: fill(r[3]["noun_output"][5:6], -float("inf")), "noun scores that are not finite: P01_101_3"),
    "constant": (lambda r: fill(r[4]["noun_output"], 0.5), "noun scores that are the same for every class: P01_101_4"),
    "no_key": (lambda r: pop(r[0], "noun_output"), "without noun_output: P01_101_0"),
    "no_name": (lambda r: pop(r[5], "narration_id"), "without narration_id: item 5"),
    "number": (lambda r: r[5].update(narration_id=5), "narration_id is a int, text expected: item 5"),
    "twice": (lambda r: r.append(r[2]), "1 narration ids occur more than once: P01_101_2"),
    "missing": (lambda r: pop(r, 1), "1 segments of the list are missing: P01_101_1"),
    "unexpected": (lambda r: r[1].update(narration_id="P01_101_7"), "1 segments are not in the list: P01_101_7"),
    "too_few": (lambda r: pop(r, 1), "5 segments, 6 expected; if your phase takes these, say --count 5"),
    "empty": (lambda r: [], "0 segments, 6 expected; if your phase takes these, say --count 0"),
    "no_dict": (lambda r: [*r[:5], "P01_101_5"], "items that are no dict but str: item 5"),
    "dict": (
        lambda r: {"verb_output": 1},
        "holds a dict; a list of dicts with narration_id, verb_output, noun_output expected",
    ),
    "arrays": (
        lambda r: [{**row, "verb_output": row["verb_output"].numpy()} for row in r],
        "torch.load(..., weights_only=True) refuses it: it holds numpy objects; write plain tensors",
    ),
    "object": (
        lambda r: [Unknown()],
        f"it names {Unknown.__module__}.Unknown, which is no numpy, pandas or torch container",
    ),
}


@pytest.mark.parametrize("case", PT)
def test_mutations_of_the_torch_file(alone, ids, case):
    change, message = PT[case]
    changed_pt(alone.pt, change)
    assert message in check_submission(alone.pt, ids, 6).problems
    rezip(alone.zip, {"submission.pt": alone.pt.read_bytes()})
    assert check_submission(alone.zip, ids, 6).problems == check_submission(alone.pt, ids, 6).problems


JSON = {
    "version": (lambda c: c.update(version="0.1"), "version is '0.1', '0.2' expected"),
    "challenge": (
        lambda c: c.update(challenge="domain_adaptation"),
        "challenge is 'domain_adaptation', 'action_recognition' expected",
    ),
    "level": (lambda c: c.update(sls_pt=6), "sls_pt is 6, a whole number from 0 to 5 expected"),
    "level_text": (lambda c: c.update(sls_td="3"), "sls_td is '3', a whole number from 0 to 5 expected"),
    "level_true": (lambda c: c.update(sls_tl=True), "sls_tl is True, a whole number from 0 to 5 expected"),
    "no_level": (lambda c: pop(c, "sls_tl"), "test.json lacks sls_tl"),
    "no_results": (lambda c: pop(c, "results"), "test.json lacks results"),
    "results": (lambda c: c.update(results=[1]), "results is no object of narration ids"),
    "no_verb": (lambda c: pop(c["results"]["P01_101_0"], "verb"), "without verb: P01_101_0"),
    "entry": (lambda c: c["results"].update(P01_101_0=3), "without noun: P01_101_0"),
    "class": (lambda c: pop(c["results"]["P01_101_1"]["noun"], "299"), "noun has 299 classes, 300 expected: P01_101_1"),
    "last_class_only": (
        lambda c: c["results"]["P01_101_1"]["verb"].update({"97": c["results"]["P01_101_1"]["verb"].pop("0")}),
        'verb has not the keys "0" to "96": P01_101_1',
    ),
    "text": (
        lambda c: c["results"]["P01_101_1"]["verb"].update({"3": "-1.5"}),
        "verb has values that are no numbers: P01_101_1",
    ),
    "huge": (
        lambda c: c["results"]["P01_101_1"]["verb"].update({"3": 10**400}),
        "verb has values that are no numbers: P01_101_1",
    ),
    "nan": (
        lambda c: c["results"]["P01_101_2"]["verb"].update({"3": float("nan")}),
        "verb scores that are not finite: P01_101_2",
    ),
    "constant": (
        lambda c: c["results"]["P01_101_2"].update(verb={str(n): -4 for n in range(97)}),
        "verb scores that are the same for every class: P01_101_2",
    ),
    "missing": (lambda c: pop(c["results"], "P01_101_2"), "1 segments of the list are missing: P01_101_2"),
    "unexpected": (
        lambda c: c["results"].update(P9=c["results"].pop("P01_101_2")),
        "1 segments are not in the list: P9",
    ),
    "count": (lambda c: c["results"].clear(), "0 segments, 6 expected; if your phase takes these, say --count 0"),
    "list": (lambda c: "[1]", "test.json is no object with version, challenge, sls_pt, sls_tl, sls_td, results"),
    "twice": (
        lambda c: json.dumps(c).replace('"P01_101_3"', '"P01_101_2"'),
        "test.json has keys more than once: P01_101_2",
    ),
}


@pytest.mark.parametrize("case", JSON)
def test_mutations_of_the_json(alone, ids, case):
    change, message = JSON[case]
    changed_json(alone.json_zip, change)
    assert message in check_submission(alone.json_zip, ids, 6).problems


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
        "1 segments are not in the list: P09_101_0",
        "1 segments of the list are missing: P01_101_2",
        "6 segments, 9449 expected; if your phase takes these, say --count 6",
        "noun scores that are not finite: P01_101_1",
        "verb scores that are the same for every class: P01_101_4",
        "verb_output has 96 values, 97 expected: P01_101_0",
    ]


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
    assert found.warnings[0].startswith("1 noun rows are neither log-probabilities nor probabilities")


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
        ({"submission.pt": ""}, "not a whole torch file (EOFError: "),
        ({"submission.pt": "text"}, "not a whole torch file ("),
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
