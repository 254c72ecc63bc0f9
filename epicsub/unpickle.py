"""Reading pickles and torch files from elsewhere without running what they carry.

A pickle is a program: loading one calls whatever functions it names. Here only the functions that rebuild numpy, pandas
and torch containers may be named; anything else is refused before it is called.
"""

import importlib
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from epicsub.errors import PredictionsError
from epicsub.files import check_readable

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
_PANDAS = {
    (module, name): (module, name)
    for module, name in (
        ("pandas", "DataFrame"),
        ("pandas", "Series"),
        ("pandas", "Index"),
        ("pandas", "RangeIndex"),
        ("pandas", "StringDtype"),
        ("pandas.arrays", "StringArray"),
        ("pandas.core.frame", "DataFrame"),
        ("pandas.core.series", "Series"),
        ("pandas.core.indexes.base", "Index"),
        ("pandas.core.indexes.base", "_new_Index"),
        ("pandas.core.indexes.range", "RangeIndex"),
        ("pandas.core.arrays.string_", "StringArray"),
        ("pandas.core.arrays.string_", "StringDtype"),
        ("pandas.core.internals.managers", "BlockManager"),
        ("pandas.core.internals.managers", "SingleBlockManager"),
        ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"),
        ("pandas._libs.internals", "_unpickle_block"),
    )
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
_ADMITTED = {**_NUMPY, **_PANDAS, **_TORCH, **_PYTHON}


def load_pickle(path: Path) -> object:
    """Read a `.pkl` of numpy, pandas or torch containers.

    Args:
        path: the file.

    Returns:
        Its object.

    Raises:
        PredictionsError: the file is no whole pickle, or names something that is not such a container.
    """
    check_readable(path, PredictionsError)
    with open(path, "rb") as handle:
        return _read(path, lambda: _ContainerUnpickler(handle).load())


def load_torch(path: Path | io.BytesIO) -> object:
    """Read a `.pt` with `weights_only=True`; numpy arrays inside are admitted too.

    Args:
        path: the file, or its content.

    Returns:
        Its object.

    Raises:
        PredictionsError: the file is no whole torch file, or names something that is not a container.
    """
    import torch  # files without tensors are read without it

    if isinstance(path, Path):
        check_readable(path, PredictionsError)
    admitted: list[Any] = [(_resolve(*place), f"{module}.{name}") for (module, name), place in _NUMPY.items()]
    # Unpickling an array names the class of its dtype, which numpy keeps per type: Float32DType, StrDType, ...
    admitted += [type(_resolve("numpy", "dtype")(code)) for code in ("f2", "f4", "f8", "i4", "i8", "U1", "O")]
    admitted.append((_encode_latin1, "_codecs.encode"))
    with torch.serialization.safe_globals(admitted):
        return _read(path, lambda: torch.load(path, map_location="cpu", weights_only=True))


class _ContainerUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage_from_bytes
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no numpy, pandas or torch container")
        return _resolve(*_ADMITTED[module, name])


def _read(path: Path | io.BytesIO, load: Callable[[], object]) -> object:
    try:
        return load()
    except OSError as error:
        raise PredictionsError(f"{path}: cannot be read: {error.strerror or error}") from error
    # A damaged or hostile stream fails in the middle of whatever it had begun to build: any exception may come out.
    except Exception as error:
        raise PredictionsError(f"{path}: not a file of predictions: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = str(error)
    if refused := re.search(r"(?:[Uu]nsupported (?:global: )?GLOBAL|Unsupported class) ([\w.]+)", text):
        return f"it names {refused[1]}, which is no numpy, pandas or torch container"
    if isinstance(error, pickle.UnpicklingError) and text.startswith("it names"):
        return text
    if core := re.search(r"WeightsUnpickler error:\s*(.+)", text):  # the rest is advice to load without limits
        text = core[1]
    first = text.strip().splitlines()[0][:120] if text.strip() else "no reason given"
    return f"no whole pickle or torch file ({type(error).__name__}: {first})"


def _storage_from_bytes(data: bytes) -> Any:
    """Read a storage with `weights_only=True`, where torch's own function unpickles without limits."""
    import torch  # files without tensors are read without it

    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Old pickles keep bytes as latin-1 text; no other codec is needed, so none is admitted."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it names the codec {encoding!r}; only latin1 is known in a pickle")
    return text.encode("latin1")


def _resolve(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
