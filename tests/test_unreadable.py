"""Files from elsewhere that are not what they should be: said in our words, by what they are, and never run."""

import argparse
import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from epicsub.errors import EpicsubError, ModelError, TrainingError
from epicsub.models.state_dict import read_tensors
from epicsub.predictions import read_predictions
from epicsub.training.checkpoint import load_checkpoint
from epicsub.unpickle import load_torch

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4" * 64 + b"\nsize 94502417\n"
FORBIDDEN = ("weights_only", "allow_pickle", "add_safe_globals", "Traceback", "WeightsUnpickler", "\x1b", "Pytorch")


def saved(content: object, **more: bool) -> bytes:
    handle = io.BytesIO()
    torch.save(content, handle, **more)
    return handle.getvalue()


def zipped(**entries: bytes) -> bytes:
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "/"), content)
    return handle.getvalue()


def tarred(*names: str) -> bytes:
    handle = io.BytesIO()
    with tarfile.open(fileobj=handle, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return handle.getvalue()


def tensors() -> dict[str, torch.Tensor]:
    return {"conv.weight": torch.randn(64, 8), "conv.bias": torch.zeros(64)}


def packed() -> bytes:
    """A torch file whose entries are packed: 50 MB of zeros in 50 kB."""
    handle = io.BytesIO()
    content = zipfile.ZipFile(io.BytesIO(saved({"a": torch.zeros(12_500_000)})))
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in content.namelist():
            archive.writestr(name, content.read(name))
    return handle.getvalue()


NOT_TORCH = {
    "empty": (b"", "is empty (0 bytes): copy or fetch it again"),
    "zeros": (bytes(9000), "zeros: its copy was broken off"),
    "page": (b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>", "is a web page (HTML), not the file"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is a text in XML"),
    "lfs": (LFS, "is a pointer of git-lfs, which stands for a file of 94.5 MB: run `git lfs pull`"),
    "old tar": (tarred("sys_info", "pickle", "tensors", "storages"), "is a tar as torch wrote before 2017"),
    "tar": (tarred("a.txt", "b.txt"), "is a tar archive that holds a.txt, b.txt: unpack it"),
    "zip": (zipped(notes=b"x", last__pth=b"y"), "is a zip that holds notes, last/pth: unpack it"),
    "empty zip": (zipped(), "is a zip that holds nothing"),
    "jit": (
        zipped(m__constants__pkl=b"x", m__code__a=b"y").replace(b"constants/pkl", b"constants.pkl"),
        "torch.jit.save",
    ),
    "gzip": (gzip.compress(saved(tensors())), "is compressed by gzip: unpack it"),
    "cut": (saved(tensors())[:1500], "is cut off or damaged: a zip (as torch.save writes) without its end"),
    "legacy cut": (saved(tensors(), _use_new_zipfile_serialization=False)[:400], "is damaged"),
    "pickle": (pickle.dumps([1, 2]), "is a pickle that torch.save did not write"),
    "safetensors": (save(tensors()), "holds safetensors: give it the ending .safetensors"),
    "video": (b"\0\0\0\x20ftypisom" + bytes(200), "is a video (MP4)"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file"),
    "text": (b"epoch,loss\n1,2\n", "is a text that begins with 'epoch,loss'"),
    "noise": (b"\xfe\x01\xc3\x99" * 20, "is of no kind that is known here (it begins with fe 01 c3 99"),
    "namespace": (
        saved({"a": argparse.Namespace(lr=1)}),
        "holds argparse.Namespace, which is no numpy, pandas or torch",
    ),
    "model": (saved(torch.nn.Linear(2, 2)), "torch.save(model.state_dict(), FILE)"),
    "bomb": (packed(), "asks for far more memory than its size"),
}


@pytest.mark.parametrize("name", NOT_TORCH)
@pytest.mark.parametrize("read", [read_tensors, load_checkpoint, read_predictions])
def test_what_is_no_torch_file_is_told_by_what_it_is(name: str, read: object, tmp_path: Path) -> None:
    content, says = NOT_TORCH[name]
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    with pytest.raises(EpicsubError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    if not (name == "model" and read is read_predictions):
        assert says in message
    assert "\n" not in message
    assert not [word for word in FORBIDDEN if word in message]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (save(tensors())[:-100], "is cut off"),
        (b"\xff" * 4 + bytes(4) + b"{", "is of no kind"),
        (len(b'{"a": 1}').to_bytes(8, "little") + b'{"a": 1}', "has a broken header of safetensors"),
        (len(b'{"a": }}').to_bytes(8, "little") + b'{"a": }}', "has a broken header of safetensors"),
        (saved(tensors()), "is a file of torch.save: give it the ending .pt"),
        (b"", "is empty"),
        (LFS, "git lfs pull"),
    ],
)
def test_what_is_no_safetensors_file_is_told_by_what_it_is(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.safetensors: ") as caught:
        read_tensors(tmp_path / "w.safetensors")
    assert says in str(caught.value)


def test_numpy_scalars_in_a_checkpoint_of_others_are_read(tmp_path: Path) -> None:
    content = {"state_dict": tensors(), "best": np.float64(0.5), "history": np.arange(3.0), "epoch": 3}
    torch.save(content, tmp_path / "x.pth")
    assert set(read_tensors(tmp_path / "x.pth")) == set(tensors())
    with pytest.raises(TrainingError, match="not a checkpoint of epicsub \\(its keys are state_dict, best"):
        load_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("recipe"), "lacks recipe"),
        (lambda c: c.update(step="3"), "step is a str, a int expected"),
        (lambda c: c.update(model={"a": 3}), "its model holds what is no tensor: a"),
        (lambda c: c.update(evil=1), "has evil, which no checkpoint has"),
        (lambda c: c.update(classes={"verb": 8}), "has {'verb': 8} classes"),
    ],
)
def test_a_checkpoint_with_other_entries_is_refused(change: object, says: str, tmp_path: Path) -> None:
    content = {"epicsub_checkpoint": 1, "classes": {"verb": 97, "noun": 300}, "recipe": {}, "step": 1, "steps": 2}
    content |= {"lists": {}, "scores": {}, "model": tensors()}
    torch.save(content, tmp_path / "whole.pth")
    assert set(load_checkpoint(tmp_path / "whole.pth").model) == set(tensors())
    change(content)
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(TrainingError) as caught:
        load_checkpoint(tmp_path / "x.pth")
    assert says in str(caught.value)


GADGETS = {
    "bytearray": b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x01\x85R.",
    "dtype of a state": b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x3ftb.",
    "structured dtype": b"\x80\x02cnumpy\ndtype\n]\x85R.",
    "far note": b"\x80\x02]r\xff\xff\xff\x7f.",
    "extension": b"\x80\x02\x82\x01.",
    "key of tuples": b"\x80\x02}K\x01q\x00"
    + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60))
    + b"K\x02s.",
    "expanded": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\nC\x04\0\0\0\0\x85R"
    b"K\x00\x8a\x05\x00\x00\x00\x00\x01\x85K\x00\x85\x89NtR.",
}


@pytest.mark.parametrize("name", GADGETS)
@pytest.mark.parametrize("suffix", [".pkl", ".pt"])
def test_pickles_that_would_take_all_memory_or_time_are_not_begun(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(GADGETS[name])
    if suffix == ".pt":
        path.write_bytes(_torch_zip(GADGETS[name]))
    with pytest.raises(EpicsubError, match=r"(holds|is damaged|is a pickle|asks)"):
        read_predictions(path)


def _torch_zip(data: bytes) -> bytes:
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w") as archive:
        for name, content in {"x/data.pkl": data, "x/version": b"3\n", "x/byteorder": b"little"}.items():
            archive.writestr(name, content)
    return handle.getvalue()


def test_a_pickle_is_looked_through_to_its_end(tmp_path: Path) -> None:
    """All foreign names are told at once, also behind the first."""
    content = {"args": argparse.Namespace(), "path": Path("a"), "w": torch.zeros(2)}
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(TrainingError, match=r"holds argparse\.Namespace, .*pathlib\.PosixPath"):
        load_torch(tmp_path / "x.pth", TrainingError)
