"""Files of predictions: the formats read and written, and what is refused."""

import functools
import io
import json
import logging
import os
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.core.internals import blocks as pandas_blocks

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


# What must not get in


class Payload:
    """Unpickled freely, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("suffix", [".pkl", ".pt"])
def test_a_malicious_file_is_not_run(tmp_path, suffix):
    trap = tmp_path / "trap"
    content = as_list(good())
    content[2]["verb_output"] = Payload(trap)
    path = tmp_path / f"x{suffix}"
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(PredictionsError, match=r"holds posix.mkdir, which is no numpy, pandas or torch container"):
        read_predictions(path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Payload(trap)))
    assert trap.exists()  # the payload would have worked


def test_a_malicious_storage_inside_a_pickle_is_not_run(tmp_path):
    trap = tmp_path / "trap"
    inner = io.BytesIO()
    torch.save(Payload(trap), inner)

    class Outer:
        def __reduce__(self):
            return (torch.storage._load_from_bytes, (inner.getvalue(),))

    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(Outer()))
    with pytest.raises(PredictionsError, match=r"holds posix.mkdir"):
        read_predictions(path)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "exec", "__import__"])
def test_builtins_are_refused_by_name(tmp_path, name):
    path = tmp_path / "x.pkl"
    path.write_bytes(f"cbuiltins\n{name}\n(S'1'\ntR.".encode())
    with pytest.raises(PredictionsError, match=rf"x\.pkl: holds builtins\.{name}"):
        read_predictions(path)


def test_dotted_names_do_not_reach_further(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0ddtype.__new__\x93.")
    with pytest.raises(PredictionsError, match=r"holds numpy\.dtype\.__new__"):
        read_predictions(path)


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


# Pickles of earlier pandas


class OfPandas13(pickle.Pickler):
    """As pandas 1.3 pickled a block: a `functools.partial` of its `new_block`, called with values and placement."""

    def reducer_override(self, thing):
        if "Block" in type(thing).__name__ and hasattr(thing, "mgr_locs"):
            _, (values, placement, ndim) = thing.__reduce__()
            return functools.partial(pandas_blocks.new_block, ndim=ndim), (values, placement)
        return NotImplemented


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.set_index(pd.Index([3, 1, 4, 5], dtype="int64")),
        lambda table: table.set_index("narration_id"),
        lambda table: table.assign(narration_id=pd.Categorical(table["narration_id"]), start_frame=1, k=0.5),
        lambda table: table.assign(count=pd.array([1, None, 3, 4], dtype="Int64")),
        lambda table: table.set_index(pd.MultiIndex.from_arrays([["P01"] * 4, [0, 1, 2, 3]])),
    ],
    ids=["numbers", "ids_in_the_index", "categories", "nullable", "two_levels"],
)
def test_pickles_of_earlier_pandas(tmp_path, change):
    table = change(pd.DataFrame(as_list(good()))[["narration_id", "verb_output", "noun_output"]])
    made = io.BytesIO()
    OfPandas13(made, 2).dump(table)
    assert b"cfunctools\npartial\n" in made.getvalue()
    older = made.getvalue()
    for name, place, old in (
        (b"Index", b"pandas.core.indexes.numeric", b"Int64Index"),
        (b"DataFrame", b"pandas.core.frame", b"DataFrame"),
        (b"Categorical", b"pandas.core.categorical", b"Categorical"),
        (b"MultiIndex", b"pandas.core.indexes.multi", b"MultiIndex"),
    ):
        older = older.replace(b"cpandas\n" + name + b"\n", b"c" + place + b"\n" + old + b"\n")
    older = older.replace(b"cpandas.core.internals.managers\n", b"cpandas.core.internals\n")
    path = tmp_path / "x.pkl"
    path.write_bytes(older)
    assert_equal(read_predictions(path), good(), atol=2e-6)


@pytest.mark.parametrize("called", ["builtins\neval", "pandas._libs.arrays\n__pyx_unpickle_NDArrayBacked"])
def test_a_partial_of_anything_else_is_refused(tmp_path, called):
    (tmp_path / "x.pkl").write_bytes(f"cfunctools\npartial\n(c{called}\ntR(S'1'\ntR.".encode())
    with pytest.raises(PredictionsError, match=r"x\.pkl: (holds|is damaged)"):
        read_predictions(tmp_path / "x.pkl")


# Kinds of scores


@pytest.mark.parametrize("times", [10, 30, 100, 0.5])
@pytest.mark.parametrize("suffix", [".pkl", ".npz", ".json"])
def test_probabilities_times_a_constant(tmp_path, caplog, times, suffix):
    path = tmp_path / f"x{suffix}"
    scores = {kind: times * np.exp(getattr(good(), f"{kind}_logprobs").astype(float)) for kind in ("verb", "noun")}
    ids = good().narration_ids
    if suffix == ".npz":
        np.savez(path, narration_id=ids, verb_output=scores["verb"], noun_output=scores["noun"])
    elif suffix == ".pkl":
        rows = {"narration_id": list(ids), "verb_output": scores["verb"], "noun_output": scores["noun"]}
        path.write_bytes(pickle.dumps(rows))
    else:
        rows = {
            name: {kind: {str(n): score for n, score in enumerate(scores[kind][row])} for kind in scores}
            for row, name in enumerate(ids.tolist())
        }
        path.write_text(json.dumps({"results": rows}))
    with caplog.at_level(logging.WARNING, "epicsub"):
        assert_equal(read_predictions(path), good(), atol=1e-5)
    assert f"{path}: rows sum to {times:g}: read as probabilities times that" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: -p, r"negative log-probabilities; multiply them by -1"),
        (lambda p: p / np.log(10), r"logarithms to base 10; multiply them by 2\.30259"),
        (lambda p: 1 / (1 + np.exp(-p * np.arange(1, 5)[:, None])), "all scores lie between 0 and 1, and rows sum to"),
    ],
    ids=["negative", "base_10", "sigmoid"],
)
def test_scores_that_would_be_misread_are_refused(tmp_path, change, message):
    rows = {**as_dict(good()), "verb_output": change(good().verb_logprobs.astype(float))}
    rows["noun_output"] = change(good().noun_logprobs.astype(float))
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(rows))
    with pytest.raises(PredictionsError, match=rf"x\.pkl: the scores are {message}|x\.pkl: {message}"):
        read_predictions(tmp_path / "x.pkl")


def test_logits_that_are_nowhere_negative_stay_logits():
    rng = np.random.default_rng(0)
    verb, noun = rng.gamma(1.0, 3.0, (40, 97)), rng.gamma(1.0, 3.0, (40, 300))
    made = Predictions.from_scores([f"P01_11_{n}" for n in range(40)], verb, noun)
    expected = verb - np.log(np.exp(verb).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(made.verb_logprobs, expected, atol=1e-5)


def test_ids_with_characters_that_do_not_show(tmp_path):
    rows = as_list(good())
    rows[1]["narration_id"] += "\u00a0"
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(rows))
    with pytest.raises(PredictionsError, match=r"characters that do not show: 'P01_11_\d+\\xa0': no-break space"):
        read_predictions(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"results": {"a": {}, "a": {}}}', "keys more than once: a"),
        ('{"results": ' + "[" * 100_000, "not JSON"),
        ('{"results": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_json_that_says_a_thing_twice_or_never_ends(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(PredictionsError, match=message):
        read_predictions(tmp_path / "x.json")
