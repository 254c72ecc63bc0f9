"""Reading pickles, torch files and safetensors from elsewhere without running what they carry.

A pickle is a program: loading one calls whatever functions it names. Each is looked through first (`survey`), and only
the functions that rebuild numpy, pandas and torch containers may be named; anything else is refused before anything is
built. Torch files are then read with `weights_only=True`, pickles by an unpickler that knows the same names.
"""

import importlib
import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from epicsub.errors import EpicsubError, PredictionsError
from epicsub.unpickle.survey import survey
from epicsub.unpickle.unreadable import ForeignObjectError, Source, why_unreadable

if TYPE_CHECKING:
    from torch import Tensor

# (module, name) as pickles spell them -> where the object lives today. numpy 1 said numpy.core, numpy 2 numpy._core.
_NUMPY = {
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
    **{
        (f"numpy.{core}.{module}", name): (f"numpy._core.{module}", name)
        for core in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    },
}
# By name alone: pandas has moved them from module to module, and what is called here is ours to choose. Indexes of
# numbers are plain ones since pandas 2, and blocks are rebuilt by another function since pandas 1.4.
_PANDAS = {
    **{name: ("pandas", name) for name in ("DataFrame", "Series", "Index", "RangeIndex", "CategoricalIndex")},
    **{name: ("pandas", name) for name in ("MultiIndex", "Categorical", "CategoricalDtype", "StringDtype", "NA")},
    **dict.fromkeys(("Int64Index", "UInt64Index", "Float64Index"), ("pandas", "Index")),
    **{f"{kind}{bits}Dtype": ("pandas", f"{kind}{bits}Dtype") for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)},
    **{name: ("pandas", name) for name in ("Float32Dtype", "Float64Dtype", "BooleanDtype")},
    **{name: ("pandas.arrays", name) for name in ("StringArray", "IntegerArray", "FloatingArray", "BooleanArray")},
    **{name: ("pandas.core.internals.managers", name) for name in ("BlockManager", "SingleBlockManager")},
    **dict.fromkeys(("new_block", "_unpickle_block"), ("pandas._libs.internals", "_unpickle_block")),
    "_new_Index": ("pandas.core.indexes.base", "_new_Index"),
    "FrozenList": ("pandas.core.indexes.frozen", "FrozenList"),
    "__pyx_unpickle_NDArrayBacked": ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"),
}
_TORCH = {
    ("torch._utils", "_rebuild_tensor_v2"): ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"): ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"): ("torch", "Size"),
}
_PYTHON = {
    ("collections", "OrderedDict"): ("collections", "OrderedDict"),
    ("builtins", "slice"): ("builtins", "slice"),
    ("__builtin__", "slice"): ("builtins", "slice"),
}
_ADMITTED = {**_NUMPY, **_TORCH, **_PYTHON}


# What `torch.save` names besides: storages, types and the functions that put tensors together.
_IN_TORCH_FILES = re.compile(
    r"torch\.(\w+Storage|storage\.\w+Storage|(cuda|sparse)\.\w+|Size|device|Tensor|strided|(u?int|float|bfloat|complex|qu?int)"
    r"\d\w*|bool|half|double|long|short|uint8|per_\w+|nn\.parameter\.Parameter|serialization\._get_layout"
    r"|_utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state|qtensor|sparse_tensor)"
    r"|_tensor\._rebuild_from_type_v2)|collections\.(OrderedDict|Counter)|_codecs\.encode"
    r"|(builtins|__builtin__)\.(set|complex)"
)
LARGEST_UNPACKED = 1 << 31
"""Bytes that an archive of predictions may unpack to: a hundred times the test list's."""
_TABLES = "Where it was made, write a dict of lists and numpy arrays in its place"
_WEIGHTS = "Where it was made, write the weights alone: torch.save(model.state_dict(), FILE)"


def load_pickle(path: Path, failure: type[EpicsubError] = PredictionsError) -> object:
    """Read a `.pkl` of numpy, pandas or torch containers.

    Args:
        path: the file.
        failure: raised with the path and the reason.

    Returns:
        Its object.

    Raises:
        EpicsubError: of the kind `failure`: the file is no whole pickle, or names something that is not such a
            container.
    """
    try:
        with open(path, "rb") as handle:
            survey(handle, _admits_in_pickle)
            handle.seek(0)
            # Arrays of Python 2 are text, which is read as numpy needs it.
            return _ContainerUnpickler(handle, encoding="latin1").load()
    except EpicsubError as error:  # of a torch file inside
        raise failure(f"{path}: {error}") from error
    # A damaged or hostile stream fails in the middle of whatever it had begun to build: any exception may come out.
    except Exception as error:
        raise failure(f"{path}: {why_unreadable(path, error, ('pickle',), _TABLES)}") from error


def load_torch(
    source: Source, failure: type[EpicsubError] = PredictionsError, mapped: bool = False, arrays: bool = True
) -> Any:
    """Read what `torch.save` wrote with `weights_only=True`.

    Args:
        source: the file, or its content.
        failure: raised with the path and the reason.
        mapped: leave tensors on the disk until they are used, where the format allows it.
        arrays: admit numpy arrays inside, which torch alone does not.

    Returns:
        Its object.

    Raises:
        EpicsubError: of the kind `failure`: the file is no whole torch file, or names something that is not a
            container. The message begins with the path, where there is one.
    """
    import torch  # files without tensors are read without it

    admitted: list[Any] = [(_encode_latin1, "_codecs.encode")]
    if arrays:
        admitted += [(_resolve(*place), f"{module}.{name}") for (module, name), place in _NUMPY.items()]
        # Unpickling an array names the class of its dtype, which numpy keeps per type: Float32DType, StrDType, ...
        admitted += [type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "U1", "O", "b1")]
    where = "" if isinstance(source, io.BytesIO) else f"{source}: "
    try:
        zipped = _survey_torch(source, _admits_in_torch_file if arrays else _admits_without_arrays)
        if isinstance(source, io.BytesIO):
            source.seek(0)
        with torch.serialization.safe_globals(admitted):
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped and zipped)
    except Exception as error:  # a damaged file fails anywhere in torch, zipfile or pickle
        remedy = _TABLES if failure is PredictionsError else _WEIGHTS
        raise failure(f"{where}{why_unreadable(source, error, ('torch',), remedy)}") from error


def load_npz(path: Path, failure: type[EpicsubError] = PredictionsError) -> dict[str, Any]:
    """Read an archive of numpy arrays; arrays of objects, which would be pickles, are refused.

    Args:
        path: a `.npz`.
        failure: raised with the path and the reason.

    Returns:
        Arrays by name.

    Raises:
        EpicsubError: of the kind `failure`: the file is no whole archive of arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST_UNPACKED:
                raise MemoryError
        with np.load(path, allow_pickle=False) as arrays:
            return {str(key): arrays[key] for key in arrays.files}
    except Exception as error:  # damage fails in zipfile, zlib or numpy, each with exceptions of its own
        if "Object arrays cannot be loaded" in str(error):
            error = ForeignObjectError("an array of objects")
        raise failure(f"{path}: {why_unreadable(path, error, ('npz',), _TABLES)}") from error


def load_safetensors(path: Path, failure: type[EpicsubError]) -> "dict[str, Tensor]":
    """Map the tensors of a `.safetensors` file.

    Args:
        path: the file.
        failure: raised with the path and the reason.

    Returns:
        Tensors by name.

    Raises:
        EpicsubError: of the kind `failure`: the file is no whole safetensors file.
    """
    from safetensors.torch import load_file  # needs torch, which files without tensors are read without

    try:
        return load_file(path)
    except Exception as error:  # a broken header fails in safetensors, json or torch
        raise failure(f"{path}: {why_unreadable(path, error, ('safetensors',), _WEIGHTS)}") from error


class _ContainerUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage_from_bytes
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        if (module, name) == ("functools", "partial"):
            return _BlockOfPandas
        if (module, name) in _ADMITTED:
            return _resolve(*_ADMITTED[module, name])
        if _is_of_pandas(module, name):
            return _resolve(*_PANDAS[name])
        raise ForeignObjectError(f"{module}.{name}")


class _BlockOfPandas:
    """What pandas 1.3 pickled as a `functools.partial`: its function that rebuilds a block, with `ndim` set."""

    def __init__(self, function: object) -> None:
        if function is not _resolve(*_PANDAS["new_block"]):
            raise ForeignObjectError("functools.partial")
        self.given: dict[str, Any] = {}

    def __setstate__(self, state: tuple[object, object, dict[str, Any], object]) -> None:
        self.given = dict(state[2])

    def __call__(self, *words: Any) -> object:
        return _resolve(*_PANDAS["new_block"])(*words, **self.given)


def _is_of_pandas(module: str, name: str) -> bool:
    return module.partition(".")[0] == "pandas" and name in _PANDAS


def _admits_in_pickle(module: str, name: str) -> bool:
    others = (("torch.storage", "_load_from_bytes"), ("_codecs", "encode"), ("functools", "partial"))
    return (module, name) in _ADMITTED or (module, name) in others or _is_of_pandas(module, name)


def _admits_without_arrays(module: str, name: str) -> bool:
    return _IN_TORCH_FILES.fullmatch(f"{module}.{name}") is not None


def _admits_in_torch_file(module: str, name: str) -> bool:
    return (module, name) in _NUMPY or _admits_without_arrays(module, name)


def _survey_torch(source: Source, admits: Callable[[str, str], bool]) -> bool:
    """Look through a torch file: one pickle in a zip (True), five in a row in the older format (False)."""
    with io.BytesIO(source.getvalue()) if isinstance(source, io.BytesIO) else open(source, "rb") as handle:
        zipped = handle.read(4) == b"PK\x03\x04"  # as torch tells them apart
        size = handle.seek(0, io.SEEK_END)
        handle.seek(0)
        if not zipped:
            survey(handle, admits, pickles=5)
            return False
        with zipfile.ZipFile(handle) as archive:
            entries = archive.infolist()
            # torch packs nothing: what unpacks to more than the file is made to fill the memory.
            if sum(entry.file_size for entry in entries) > size:
                raise MemoryError
            for entry in entries:
                if entry.filename.endswith("data.pkl"):
                    survey(io.BytesIO(archive.read(entry)), admits)
        return True


def _storage_from_bytes(data: bytes) -> Any:
    """Read a storage with `weights_only=True`, where torch's own function unpickles without limits."""
    return load_torch(io.BytesIO(data))


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Old pickles keep bytes as latin-1 text; no other codec is needed, so none is admitted."""
    if encoding != "latin1":
        raise ForeignObjectError(f"the codec {encoding!r}")
    return text.encode("latin1")


def _resolve(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
