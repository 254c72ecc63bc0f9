"""`import epicsub` is cheap, and every name that it offers is there."""

import subprocess
import sys

import pytest

import epicsub


def test_importing_epicsub_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, epicsub; heavy = {'torch', 'pandas', 'numpy', 'cv2'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", epicsub.__all__)
def test_every_name_resolves(name: str) -> None:
    assert getattr(epicsub, name) is not None
    assert name in dir(epicsub)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'epicsub' has no attribute 'tarin'"):
        epicsub.tarin  # noqa: B018
