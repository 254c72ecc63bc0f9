"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run several at a time on few cores: one thread each."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's top folder, with recipes/ and validation/."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real annotation tables, splits and the real clip: beside the checkout, never in it."""
    folder = Path(os.environ.get("EPICSUB_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no real annotation tables at {folder} (set EPICSUB_SHARED)")
    return folder
