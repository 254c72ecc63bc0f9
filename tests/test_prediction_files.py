"""Files of predictions: the formats read and written, and what is refused."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epicsub.errors import PredictionsError
from epicsub.predictions import Predictions, read_predictions, save_predictions
from tests.test_predictions import IDS, assert_equal, good


def as_list(predictions: Predictions, convert=lambda row: row) -> list[dict]:
    return [
        {"verb_output": convert(verb), "noun_output": convert(noun), "narration_id": name}
        for name, verb, noun in zip(
            predictions.narration_ids.tolist(), predictions.verb_logprobs, predictions.noun_logprobs, strict=True
        )
    ]


def as_dict(predictions: Predictions) -> dict:
    return {
        "verb_output": predictions.verb_logprobs,
        "noun_output": predictions.noun_logprobs,
        "narration_id": predictions.narration_ids,
    }


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_files_keep_everything(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    save_predictions(good(), path)
    assert_equal(read_predictions(path), good(), atol=0 if suffix == ".npz" else 2e-6)
    assert list(tmp_path.iterdir()) == [path]


def test_the_organisers_list_is_plain_torch_and_shares_two_storages(tmp_path):
    save_predictions(good(), tmp_path / "x.pt")
    rows = torch.load(tmp_path / "x.pt", weights_only=True)
    assert [row["narration_id"] for row in rows] == IDS
    assert {type(row["narration_id"]) for row in rows} == {str}
    assert len({row["verb_output"].untyped_storage().data_ptr() for row in rows}) == 1
    np.testing.assert_array_equal(torch.stack([row["noun_output"] for row in rows]).numpy(), good().noun_logprobs)


def test_same_predictions_same_bytes(tmp_path):
    for suffix in (".pt", ".npz"):
        save_predictions(good(), tmp_path / f"a{suffix}")
        save_predictions(good(), tmp_path / f"another{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"another{suffix}").read_bytes()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "shape",
    [
        as_list,
        as_dict,
        lambda p: as_list(p, torch.from_numpy),
        lambda p: as_list(p, lambda row: torch.nn.Parameter(torch.from_numpy(row))),
        lambda p: pd.DataFrame(as_list(p)),
        lambda p: {**as_dict(p), "narration_id": pd.Series(p.narration_ids)},
        lambda p: {**as_dict(p), "narration_id": np.array(p.narration_ids, dtype=object)},
        lambda p: {**as_dict(p), "narration_id": list(p.narration_ids), "other": 3},
        lambda p: {
            "narration_ids": p.narration_ids,
            "verb_logprobs": p.verb_logprobs,
            "noun_logprobs": p.noun_logprobs,
        },
    ],
    ids=["list", "dict", "tensors", "parameters", "frame", "series", "objects", "np_str", "own"],
)
def test_pickles_of_containers(tmp_path, shape, protocol):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(shape(good()), protocol))
    assert_equal(read_predictions(path), good(), atol=2e-6)


def test_pickles_as_numpy_1_wrote_them(tmp_path):
    old = pickle.dumps(as_list(good()), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in old
    (tmp_path / "x.pkl").write_bytes(old)
    assert_equal(read_predictions(tmp_path / "x.pkl"), good(), atol=2e-6)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("shape", [as_list, as_dict, lambda p: as_list(p, torch.from_numpy)], ids=["list", "dict", "t"])
def test_torch_files_with_numpy_or_tensors_inside(tmp_path, shape, zipped):
    path = tmp_path / "x.pt"
    torch.save(shape(good()), path, _use_new_zipfile_serialization=zipped)
    assert_equal(read_predictions(path), good(), atol=2e-6)


def test_bfloat16_and_double_tensors(tmp_path):
    rows = as_list(good(), lambda row: torch.from_numpy(row).bfloat16())
    torch.save(rows, tmp_path / "x.pt")
    assert_equal(read_predictions(tmp_path / "x.pt"), good(), atol=0.1)
    torch.save(as_list(good(), lambda row: torch.from_numpy(row).double()), tmp_path / "y.pt")
    assert_equal(read_predictions(tmp_path / "y.pt"), good(), atol=2e-6)


# What is something else


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.pkl", b"hello, this is text\n", "is a text that begins with 'hello"),
        ("x.pt", b"hello, this is text\n", "is a text that begins with 'hello"),
        ("x.npz", b"hello, this is text\n", "is a text that begins with 'hello"),
        ("x.pkl", b"", "is empty"),
        ("x.pt", b"", "is empty"),
        ("x.npz", b"", "is empty"),
        ("x.pkl", pickle.dumps([1, 2, 3]), "item 0 is a int, item 1 is a int"),
        ("x.pkl", pickle.dumps([]), "an empty list"),
        ("x.pkl", pickle.dumps("P01"), "holds a str"),
        ("x.pkl", pickle.dumps({"a": 1}), "a dict that holds 'a'; expected a list of dicts, or a dict, with narr"),
        ("x.pkl", pickle.dumps({}), "a dict that holds nothing"),
        ("x.csv", b"", "read from .npz, .pt, .pkl, .json, not '.csv'"),
    ],
)
def test_files_that_are_something_else(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PredictionsError, match=message) as caught:
        read_predictions(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_is_not_predictions(tmp_path):
    torch.save({"model": {"w": torch.zeros(2)}, "step": 3}, tmp_path / "x.pt")
    with pytest.raises(PredictionsError, match="a dict that holds 'model', 'step'; expected"):
        read_predictions(tmp_path / "x.pt")


def test_a_missing_file(tmp_path):
    with pytest.raises(PredictionsError, match="no such file"):
        read_predictions(tmp_path / "x.pt")


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".pkl"])
@settings(max_examples=15, deadline=None)
@given(share=st.floats(0, 0.99))
def test_truncated_files(tmp_path_factory, suffix, share):
    path = tmp_path_factory.mktemp("cut") / f"x{suffix}"
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps(as_list(good(), torch.from_numpy)))
    else:
        save_predictions(good(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(PredictionsError):
        read_predictions(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [{**row, "verb_output": row["verb_output"][:96]} for row in rows], "x.pkl: 96 verb classes, 97"),
        (lambda rows: [{**rows[0], "verb_output": np.zeros(125)}, *rows[1:]], r"shape \(97,\): P01_11_0 \(125,\)"),
        (lambda rows: [rows[0], {"narration_id": "x"}], "item 1 lacks verb_output, noun_output"),
        (lambda rows: [{**row, "narration_id": 3} for row in rows], "narration ids are int, text expected"),
        (
            lambda rows: [{**row, "noun_output": ["a"] * 300} for row in rows],
            "noun_output: a list that is not an array of numbers",
        ),
        (lambda rows: [{**row, "verb_output": row["verb_output"][None]} for row in rows], r"P01_11_0 \(1, 97\)"),
    ],
)
def test_lists_with_wrong_rows(tmp_path, change, message):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(change(as_list(good()))))
    with pytest.raises(PredictionsError, match=message):
        read_predictions(tmp_path / "x.pkl")


def test_every_line_of_a_problem_names_the_file(tmp_path):
    rows = [{**r, "verb_output": r["verb_output"][:9], "noun_output": r["noun_output"][:8]} for r in as_list(good())]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(rows))
    with pytest.raises(PredictionsError) as caught:
        read_predictions(tmp_path / "x.pkl")
    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'x.pkl'}: 9 verb classes, 97 expected",
        f"{tmp_path / 'x.pkl'}: 8 noun classes, 300 expected",
    ]


# Writing


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PredictionsError, match="cannot be written: "):
        save_predictions(good(), tmp_path / "file" / "x.npz")
    with pytest.raises(PredictionsError, match=r"expected \.npz or \.pt for predictions, not '\.pkl'"):
        save_predictions(good(), tmp_path / "x.pkl")


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    save_predictions(good(), path)
    before = path.read_bytes()

    def fails(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fails)
    with pytest.raises(PredictionsError, match="No space left on device"):
        save_predictions(good(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
