"""A good test.json, broken in one way each at places that hypothesis draws: each is caught, with its message."""

import json
import re
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FEW = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def drop(container, key):
    del container[key]


def entry(content, d):
    return content["results"][d.id]


def last_class_renamed(content, d):
    scores = entry(content, d)[d.kind]
    scores[str(d.size)] = scores.pop(str(d.place))


# name: (change of the content, message); what the change returns takes its place, a string as the text itself
JSON = {
    "version_old": (lambda c, d: c.update(version="0.1"), lambda d: "version is '0.1', '0.2' expected"),
    "version_a_number": (lambda c, d: c.update(version=0.2), lambda d: "version is 0.2, '0.2' expected"),
    "version_missing": (lambda c, d: drop(c, "version"), lambda d: "test.json lacks version"),
    "challenge_another": (
        lambda c, d: c.update(challenge="action_detection"),
        lambda d: "challenge is 'action_detection', 'action_recognition' expected",
    ),
    "results_of_another_challenge": (
        lambda c, d: c.update(results_target=c.pop("results")),
        lambda d: "test.json lacks results; it has results_target, which is of another challenge",
    ),
    "level_too_high": (
        lambda c, d: c.update(sls_pt=6 + d.row),
        lambda d: f"sls_pt is {6 + d.row}, a whole number from 0 to 5 expected",
    ),
    "level_below": (lambda c, d: c.update(sls_tl=-1), lambda d: "sls_tl is -1, a whole number from 0 to 5 expected"),
    "level_as_text": (lambda c, d: c.update(sls_td="3"), lambda d: "sls_td is '3', a whole number from 0 to"),
    "level_true": (lambda c, d: c.update(sls_td=True), lambda d: "sls_td is True, a whole number from 0 to 5 expected"),
    "level_missing": (lambda c, d: drop(c, "sls_tl"), lambda d: "test.json lacks sls_tl"),
    "results_a_list": (
        lambda c, d: c.update(results=list(c["results"].values())),
        lambda d: "results is no object of narration ids",
    ),
    "not_flat": (lambda c, d: {"submission": c}, lambda d: "test.json lacks results"),
    "head_missing": (lambda c, d: drop(entry(c, d), d.kind), lambda d: f"without {d.kind}: {d.id}"),
    "entry_a_number": (lambda c, d: c["results"].update({d.id: 3}), lambda d: f"without noun: {d.id}"),
    "class_missing": (
        lambda c, d: drop(entry(c, d)[d.kind], str(d.place)),
        lambda d: f"{d.kind} has {d.size - 1} classes, {d.size} expected: {d.id}",
    ),
    "class_too_many": (
        lambda c, d: entry(c, d)[d.kind].update({str(d.size): -1.0}),
        lambda d: f"{d.kind} has {d.size + 1} classes, {d.size} expected: {d.id}",
    ),
    "class_renamed": (last_class_renamed, lambda d: f'{d.kind} has not the keys "0" to "{d.size - 1}": {d.id}'),
    "score_as_text": (
        lambda c, d: entry(c, d)[d.kind].update({str(d.place): "-1.5"}),
        lambda d: f"{d.kind} has values that are no numbers: {d.id}",
    ),
    "score_null": (
        lambda c, d: entry(c, d)[d.kind].update({str(d.place): None}),
        lambda d: f"{d.kind} has values that are no numbers: {d.id}",
    ),
    "score_true": (
        lambda c, d: entry(c, d)[d.kind].update({str(d.place): True}),
        lambda d: f"{d.kind} has values that are no numbers: {d.id}",
    ),
    "score_beyond_any_float": (
        lambda c, d: entry(c, d)[d.kind].update({str(d.place): 10**400}),
        lambda d: f"{d.kind} has values that are no numbers: {d.id}",
    ),
    "score_nan": (
        lambda c, d: entry(c, d)[d.kind].update({str(d.place): float("nan")}),
        lambda d: f"{d.kind} scores that are not finite: {d.id}",
    ),
    "scores_a_list": (
        lambda c, d: entry(c, d).update({d.kind: list(entry(c, d)[d.kind].values())}),
        lambda d: f'{d.kind} has not the keys "0" to "{d.size - 1}": {d.id}',
    ),
    "constant_row": (
        lambda c, d: entry(c, d).update({d.kind: {str(number): -4 for number in range(d.size)}}),
        lambda d: f"{d.kind} scores that are the same for every class: {d.id}",
    ),
    "segment_missing": (
        lambda c, d: drop(c["results"], d.id),
        lambda d: f"1 segment of the list is missing: {d.id}",
    ),
    "segment_unexpected": (
        lambda c, d: c["results"].update(P9=c["results"].pop(d.id)),
        lambda d: "1 segment is not in the list: P9",
    ),
    "scores_of_another_segment": (
        lambda c, d: c["results"].update({d.id: c["results"][d.other_id]}),
        lambda d: "1 segment has the very scores of another",
    ),
    "segment_twice": (
        lambda c, d: json.dumps(c).replace(f'"{d.id}"', f'"{d.other_id}"'),
        lambda d: f"test.json has keys more than once: {d.other_id}",
    ),
    "class_twice": (
        lambda c, d: re.sub(r'("verb": {"0": )', r'\1-1.5, "0": ', json.dumps(c), count=1),
        lambda d: "test.json has keys more than once: 0",
    ),
    "cut_off": (lambda c, d: json.dumps(c)[: -10 - d.place], lambda d: "test.json is not JSON: "),
    "text_behind_it": (lambda c, d: json.dumps(c) + "}", lambda d: "test.json is not JSON: "),
    "decimal_comma": (lambda c, d: json.dumps(c).replace(".", ","), lambda d: "test.json is not JSON: "),
    "list_at_the_top": (lambda c, d: [c], lambda d: "test.json is no object with version, challenge, sls_pt"),
}  # fmt: skip


@pytest.mark.parametrize("name", JSON)
@FEW
@given(data=st.data())
def test_mutation(alone, tmp_path, draw, problems_of, name, data):
    change, message = JSON[name]
    drawn = draw(data)
    with zipfile.ZipFile(alone.json_zip) as archive:
        content = json.loads(archive.read("test.json"))
    returned = change(content, drawn)
    text = returned if isinstance(returned, str) else json.dumps(content if returned is None else returned)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("test.json", text)
    problems = problems_of(tmp_path / "x.zip")
    assert any(message(drawn) in problem for problem in problems), problems


def test_there_are_thirty_ways():
    assert len(JSON) >= 30
