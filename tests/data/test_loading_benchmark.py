"""The benchmark of loading refuses, in one sentence, what would make its figures wrong."""

import importlib
import sys
from fractions import Fraction

import pytest


@pytest.fixture
def loading(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    module = importlib.import_module("loading")
    monkeypatch.setattr(module, "make_data", lambda *_: pytest.fail("it began to measure"))
    monkeypatch.setattr(module, "cores", lambda: 2, raising=False)
    return module


def refused(loading, monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["loading.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        loading.main()
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_one_core_where_two_are_measured(loading, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(loading, "cores", lambda: 1)
    assert "this process may use 1: give it two" in refused(loading, monkeypatch, capsys, "--folder", tmp_path)


def test_no_clip_to_draw_from(loading, monkeypatch, capsys, tmp_path):
    wanted = f"{tmp_path}/no.mkv: no such clip"
    assert wanted in refused(loading, monkeypatch, capsys, "--folder", tmp_path, "--clip", tmp_path / "no.mkv")


def test_a_video_of_another_length(loading, monkeypatch, capsys, tmp_path, make_video):
    make_video(tmp_path / "videos/P01/P01_01.MP4", 50, Fraction(25))
    wanted = f"P01_01.MP4: an earlier version's, of 2.0 s where 184.0 are measured: delete {tmp_path}"
    assert wanted in refused(loading, monkeypatch, capsys, "--folder", tmp_path)


def test_the_video_lasts_three_minutes(loading):
    assert loading.LASTS >= 180
