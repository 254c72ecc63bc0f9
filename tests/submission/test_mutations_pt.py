"""A good submission.pt, broken in one way each at places that hypothesis draws: each is caught, with its message."""

import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FEW = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Unknown:
    """Something that weights_only refuses."""


def put(tensor, place, value):
    tensor[place] = value


def drop(container, key):
    del container[key]


def rename(rows, names):
    for row, name in zip(rows, names, strict=True):
        row["narration_id"] = name


def swap_first(row, key):
    """Exchange the best and the second best class."""
    first, second = torch.argsort(row[key], descending=True)[:2].tolist()
    row[key][[first, second]] = row[key][[second, first]]


# name: (change of the rows, message); a list or dict that the change returns takes the rows' place

PT = {
    "row_too_short": (
        lambda r, d: r[d.row].update({d.key: r[d.row][d.key][:-1]}),
        lambda d: f"{d.key} has {d.size - 1} values, {d.size} expected: {d.id}",
    ),
    "row_too_long": (
        lambda r, d: r[d.row].update({d.key: torch.cat([r[d.row][d.key], torch.zeros(1)])}),
        lambda d: f"{d.key} has {d.size + 1} values, {d.size} expected: {d.id}",
    ),
    "heads_exchanged": (
        lambda r, d: r[d.row].update(verb_output=r[d.row]["noun_output"], noun_output=r[d.row]["verb_output"]),
        lambda d: f"verb_output has 300 values, 97 expected: {d.id}",
    ),
    "row_a_matrix": (
        lambda r, d: r[d.row].update({d.key: r[d.row][d.key][None]}),
        lambda d: f"{d.key} has the shape [1, {d.size}], [{d.size}] expected: {d.id}",
    ),
    "float64": (
        lambda r, d: r[d.row].update({d.key: r[d.row][d.key].double()}),
        lambda d: f"{d.key} is float64, float32 expected: {d.id}",
    ),
    "float16": (
        lambda r, d: r[d.row].update({d.key: r[d.row][d.key].half()}),
        lambda d: f"{d.key} is float16, float32 expected: {d.id}",
    ),
    "whole_numbers": (
        lambda r, d: r[d.row].update({d.key: r[d.row][d.key].long()}),
        lambda d: f"{d.key} is int64, float32 expected: {d.id}",
    ),
    "list_for_tensor": (
        lambda r, d: r[d.row].update({d.key: r[d.row][d.key].tolist()}),
        lambda d: f"{d.key} is a list, a torch tensor expected: {d.id}",
    ),
    "numpy_for_tensor": (
        lambda r, d: r[d.row].update({d.key: r[d.row][d.key].numpy()}),
        lambda d: "torch.load(..., weights_only=True) refuses it: it holds numpy objects; write plain tensors",
    ),
    "object_of_a_class": (
        lambda r, d: r.append(Unknown()),
        lambda d: f"holds {Unknown.__module__}.Unknown, which is no numpy, pandas or torch container",
    ),
    "nan": (
        lambda r, d: put(r[d.row][d.key], d.place, float("nan")),
        lambda d: f"{d.kind} scores that are not finite: {d.id}",
    ),
    "infinite": (
        lambda r, d: put(r[d.row][d.key], d.place, float("inf")),
        lambda d: f"{d.kind} scores that are not finite: {d.id}",
    ),
    "log_of_zero": (
        lambda r, d: put(r[d.row][d.key], d.place, -float("inf")),
        lambda d: f"{d.kind} scores that are not finite: {d.id}",
    ),
    "constant_row": (
        lambda r, d: put(r[d.row][d.key], slice(None), -4.0),
        lambda d: f"{d.kind} scores that are the same for every class: {d.id}",
    ),
    "head_missing": (lambda r, d: drop(r[d.row], d.key), lambda d: f"without {d.key}: {d.id}"),
    "id_missing": (
        lambda r, d: drop(r[d.row], "narration_id"),
        lambda d: f"without narration_id: item {d.row}",
    ),
    "id_a_number": (
        lambda r, d: r[d.row].update(narration_id=d.row),
        lambda d: f"narration_id is a int, text expected: item {d.row}",
    ),
    "id_with_a_space": (
        lambda r, d: r[d.row].update(narration_id=d.id + " "),
        lambda d: f"1 segment is not in the list: {d.id} ",
    ),
    "segment_twice": (lambda r, d: r.append(r[d.row]), lambda d: f"1 narration id occurs more than once: {d.id}"),
    "segment_missing": (lambda r, d: drop(r, d.row), lambda d: f"1 segment of the list is missing: {d.id}"),
    "one_too_few": (
        lambda r, d: drop(r, d.row),
        lambda d: "5 segments, 6 expected; if your phase takes these, say --count 5",
    ),
    "segment_unexpected": (
        lambda r, d: r[d.row].update(narration_id="P99_199_1"),
        lambda d: "1 segment is not in the list: P99_199_1",
    ),
    "validation_list": (
        lambda r, d: rename(r, [f"P01_11_{n}" for n in range(6)]),
        lambda d: "6 of its segments are in validation.csv, which has labels and is not sent",
    ),
    "scores_of_another_segment": (
        lambda r, d: r[d.row].update({key: r[d.other][key] for key in ("verb_output", "noun_output")}),
        lambda d: "1 segment has the very scores of another, which no model gives two clips: "
        + " = ".join(sorted([d.id, d.other_id], reverse=True)),
    ),
    "segments_exchanged": (
        lambda r, d: r[d.row].update(narration_id=d.other_id) or r[d.other].update(narration_id=d.id),
        lambda d: "2 of 6 segments rank otherwise than the ensemble says",
    ),
    "best_class_exchanged": (
        lambda r, d: swap_first(r[d.row], d.key),
        lambda d: f"1 of 6 segments rank otherwise than the ensemble says: {d.id}",
    ),
    "row_that_vanishes": (
        lambda r, d: r[d.row][d.key].sub_(200),
        lambda d: "the organisers' formula ranks 1 of 6 segments otherwise than their own rows say",
    ),
    "nothing_in_it": (lambda r, d: [], lambda d: "0 segments, 6 expected"),
    "nothing_at_all": (lambda r, d: False, lambda d: "holds a NoneType; a list of dicts with narration_id"),
    "item_no_dict": (lambda r, d: r.append(d.id), lambda d: "items that are no dict but str: item 6"),
    "dict_of_arrays": (
        lambda r, d: {key: torch.stack([row[key] for row in r]) for key in ("verb_output", "noun_output")},
        lambda d: "holds a dict; a list of dicts with narration_id, verb_output, noun_output expected",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PT)
@FEW
@given(data=st.data())
def test_mutation(alone, tmp_path, draw, problems_of, name, data):
    change, message = PT[name]
    drawn = draw(data)
    rows = torch.load(alone.pt, weights_only=True)
    rows = [{key: value.clone() if key != "narration_id" else value for key, value in row.items()} for row in rows]
    returned = change(rows, drawn)
    rows = None if returned is False else returned if isinstance(returned, list | dict) else rows
    torch.save(rows, tmp_path / "submission.pt")
    problems = problems_of(tmp_path / "submission.pt")
    assert any(message(drawn) in problem for problem in problems), problems
    with zipfile.ZipFile(tmp_path / "submission.zip", "w") as archive:
        archive.write(tmp_path / "submission.pt", "submission.pt")
    assert problems_of(tmp_path / "submission.zip") == problems


def test_there_are_thirty_ways():
    assert len(PT) >= 30
