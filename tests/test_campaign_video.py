"""The campaign of damaged videos: its damage follows the seed, and its judge knows right from wrong."""

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest

from benchmarks.campaigns import apart, video, video_faults
from benchmarks.campaigns.coded import picture, write_coded

FILES = {"x.mp4": {}, "x.mkv": {}, "x.avi": {"codec": "mpeg4", "b_frames": 0}, "x.ts": {"container": "mpegts"}}
TRUTH = video.Truth(30.0, 24, None)


@pytest.fixture(scope="module", params=FILES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coded(
        tmp_path_factory.mktemp("video") / request.param, range(24), size=(96, 64), **FILES[request.param]
    )


@pytest.mark.parametrize("kind", sorted({*video.KINDS}))
def test_damage_follows_the_seed(whole: Path, tmp_path: Path, kind: str) -> None:
    made = []
    for name in ("once", "again", "other"):
        video._damage(kind, whole, tmp_path / name, random.Random("other" if name == "other" else "seed"))
        made.append((tmp_path / name).read_bytes())
    if kind not in video_faults.MUXED:  # Matroska draws ids of its own
        assert made[0] == made[1]
    assert made[0] != whole.read_bytes()
    assert made[0] != made[2]


def test_a_wrong_picture_is_silent_and_the_right_one_is_not(whole: Path) -> None:
    answers = [video._pictures([0.5], np.stack([picture(number)]), TRUTH) for number in (15, 12)]
    right, wrong = (video._judge([answer], whole, "times", TRUTH)[0][0] for answer in answers)
    assert (right, wrong) == ("right", "silent")


def test_what_ends_a_process_is_told() -> None:
    def fall(send: apart.Send) -> None:
        send({})
        os.kill(os.getpid(), signal.SIGSEGV)

    def take(send: apart.Send) -> None:
        send({"taken": len(bytearray(8 * apart.MEMORY))})

    def fail(send: apart.Send) -> None:
        raise KeyError("it")

    assert [apart.in_process(work)[-1]["ended"] for work in (fall, take, fail)] == ["crash", "memory", "crash"]
