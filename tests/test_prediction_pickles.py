"""Pickles of predictions: those of earlier libraries are read, and nothing that a file brings along runs."""

import functools
import io
import os
import pickle

import pandas as pd
import pytest
import torch
from pandas.core.internals import blocks as pandas_blocks

from epicsub.errors import PredictionsError
from epicsub.predictions import read_predictions
from tests.test_prediction_files import as_list
from tests.test_predictions import assert_equal, good


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
