"""Pictures that come late, out of order or not at all: the right one or a refusal, from the file and from the store."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet

import epicsub
from benchmarks.campaigns.coded import number_in, write_coded
from benchmarks.campaigns.video_faults import _pieces
from epicsub.data.annotations import Segment
from epicsub.data.prepared import read_index
from epicsub.data.prepared.plan import Settings, make_plan
from epicsub.data.prepared.write import prepare
from epicsub.data.root import DataRoot
from epicsub.data.sources import ClipSource
from epicsub.errors import DataError

RATE = 30
STEADY = {"sc_threshold": "0"}  # no keyframes but every gop pictures


def remux(source: Path, target: Path, change: Callable[[list[Packet]], list[Packet]], kind: str | None = None) -> None:
    """Write packets again as `change` leaves them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as given, av.open(str(target), "w", format=kind) as out:
        stream = given.streams.video[0]
        made = out.add_stream_from_template(stream)
        for packet in change([packet for packet in given.demux(stream) if packet.size]):
            packet.stream = made
            out.mux(packet)


@pytest.fixture
def late(tmp_path: Path) -> DataRoot:
    """MPEG-TS that begins with picture 10, which needs those before; the first clean one is 30, 20 frames later."""
    write_coded(tmp_path / "whole.ts", range(90), RATE, gop=30, b_frames=0, codec_options=STEADY, container="mpegts")
    remux(tmp_path / "whole.ts", tmp_path / "videos/P01/P01_01.MP4", lambda packets: packets[10:], "mpegts")
    return DataRoot(tmp_path)


def segment(number: int, start: float, stop: float) -> Segment:
    return Segment(f"P01_01_{number}", "P01", "P01_01", start, stop, 1, 2, 0, 0)


def test_the_store_holds_what_there_is_around_a_late_first_picture(late: DataRoot) -> None:
    segments = [segment(0, 0.8, 1.2)]  # whose margin begins before the first picture
    prepare(make_plan(late, segments, "rgb", Settings(short_side=240, crf=18)), late, workers=1)
    index = read_index(late.prepared("P01_01", "rgb"))
    assert index is not None
    assert index.covers(0.8, 1.2)
    assert make_plan(late, segments, "rgb", Settings(short_side=240, crf=18)).kept == 1
    times = np.array([0.81, 1.0, 1.15])
    stored = ClipSource(late, ("rgb",), prepared=("rgb",)).read(segments[0], times)["rgb"].numpy()
    assert [number_in(image) for image in stored] == [10 + int(time * RATE) for time in times]
    original = epicsub.read_frames(late.path, "P01_01", times)
    assert [number_in(image) for image in original] == [number_in(image) for image in stored]


def test_a_segment_before_the_first_picture_is_refused(late: DataRoot) -> None:
    plan = make_plan(late, [segment(0, 0.3, 1.2)], "rgb", Settings())
    with pytest.raises(DataError, match=r"P01_01\.MP4: its first picture that decodes is at 0\.6.* begins at 0\.300 s"):
        prepare(plan, late, workers=1)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_timestamp_far_ahead_hides_no_later_pictures(tmp_path: Path, suffix: str) -> None:
    def far_ahead(packets: list[Packet]) -> list[Packet]:
        tick = packets[20].pts - packets[19].pts
        packets[20].pts += 60 * tick
        return packets

    write_coded(tmp_path / f"whole.{suffix}", range(90), RATE, gop=90, b_frames=0)
    remux(tmp_path / f"whole.{suffix}", tmp_path / f"videos/P01/P01_01.{suffix}", far_ahead)
    assert number_in(epicsub.read_frames(tmp_path, "P01_01", [0.5])[0]) == 15
    with pytest.raises(DataError, match=r"P01_01\.m.*: its timestamps go back from 2\.[67].* to 0\.700 s"):
        epicsub.read_frames(tmp_path, "P01_01", [1.0])


def test_a_long_pause_between_pictures_is_read(tmp_path: Path) -> None:
    times = [*range(20), *range(80, 110)]
    write_coded(tmp_path / "videos/P01/P01_01.mkv", range(50), RATE, gop=90, b_frames=0, times=times)
    frames = epicsub.read_frames(tmp_path, "P01_01", [0.5, 1.5, 2.6, 2.8])
    assert [number_in(image) for image in frames] == [15, 19, 19, 24]


def test_packets_that_the_container_lost_are_no_pictures(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "videos/P01/P01_01.mkv", range(90), RATE, gop=90, b_frames=0, codec="libvpx-vp9")
    data = bytearray(path.read_bytes())
    block = data.find(b"\xa3", len(data) // 3)
    data[block : block + 600] = b"\x55" * 600
    path.write_bytes(data)
    assert number_in(epicsub.read_frames(tmp_path, "P01_01", [0.2])[0]) == 6
    with pytest.raises(DataError, match=r"P01_01\.mkv: "):
        epicsub.read_frames(tmp_path, "P01_01", [2.8])


def test_pictures_out_of_place_are_seen_though_most_are_left_out(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "videos/P01/P01_01.mkv", range(240), 50)
    data = path.read_bytes()
    blocks = [(begin, end) for begin, end, name, _ in _pieces(data) if name == "a3"]
    (a, b), (c, d) = blocks[109], blocks[122]  # a picture that others need, and one that none needs
    path.write_bytes(data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:])
    assert number_in(epicsub.read_frames(tmp_path, "P01_01", [1.0])[0]) == 50
    with pytest.raises(DataError, match=r"P01_01\.mkv: "):
        epicsub.read_frames(tmp_path, "P01_01", [2.83])
