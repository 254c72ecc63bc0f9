"""Words that the terminal's encoding has not are printed all the same."""

import io

import pytest

from epicsub.cli import run


def test_a_name_that_cannot_be_encoded_is_printed_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.argv", ["epicsub", "--version"])
    with pytest.raises(SystemExit):
        run()
    out.write("P01_\ud800 Küche")
    out.flush()
    assert out.buffer.getvalue().endswith(b"P01_\\ud800 K\\xfcche")
