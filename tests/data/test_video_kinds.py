"""Files as users bring them are read right or refused: numbers in the pictures tell, in rgb, flow, store and check."""

import shutil
import struct
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from benchmarks.campaigns.coded import number_in, picture, write_coded
from epicsub.api.data import check_data
from epicsub.cli import run
from epicsub.data.annotations import Segment
from epicsub.data.decode.reader import open_reader, why_not
from epicsub.data.flow.compute import compute_flow
from epicsub.data.prepared.plan import Settings, make_plan
from epicsub.data.prepared.write import prepare
from epicsub.data.root import DataRoot
from epicsub.data.sources import ClipSource, read_frames
from epicsub.errors import DataError

COUNT, SIZE = 120, (160, 128)
INTRA_REFRESH = {"codec_options": {"intra-refresh": "1"}}
OPEN_GOP = {"codec_options": {"x264-params": "open-gop=1:keyint=30:scenecut=0"}}
FRAGMENTS = {"container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}
KINDS = {
    "ts.MP4": {"container": "mpegts"},
    "intra_refresh.ts": INTRA_REFRESH,
    "intra_refresh.mp4": INTRA_REFRESH,
    "open_gop.ts": OPEN_GOP,
    "open_gop.mp4": OPEN_GOP,
    "hevc.ts": {"codec": "libx265"},
    "program.mpg": {"codec": "mpeg2video", "container": "vob"},
    "flash.flv": {},
    "no_cues.mkv": {"container_options": {"live": "1"}},
    "fragments.mp4": FRAGMENTS,
    "avi.avi": {"codec": "mpeg4"},
    "sound.mkv": {"sound": 7.0},
    "sound.flv": {"sound": 7.0},
    "preview.mp4": {"previews": [(80, 64)]},
    "preview.mkv": {"previews": [(80, 64)]},
}


def make(path: Path, **kind) -> Path:
    return write_coded(path, range(COUNT), size=SIZE, **{"gop": 30} | kind)


def numbers(reader, wanted):
    """Read in jumps; each number, or None where it is refused."""
    found = []
    for number in wanted:
        try:
            found.append(number_in(reader.frames_at(np.array([(number + 0.5) / 30]))[0].numpy()))
        except DataError:
            found.append(None)
    return found


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_read_right(name, tmp_path):
    reader = open_reader(make(tmp_path / name, **KINDS[name]))
    wanted = [70, 1, 119, 29, 30, 0, 118, 61, 92, 45]
    assert numbers(reader, wanted) == wanted
    assert reader.duration == pytest.approx(4.0, abs=0.04)  # whatever the header counts
    reader.close()


@pytest.mark.parametrize("decoder", ["torchcodec", "decord"])
@pytest.mark.parametrize("name", ["ts.MP4", "intra_refresh.mp4", "fragments.mp4", "preview.mkv", "hevc.ts"])
def test_another_decoder_is_right_or_refused(decoder, name, tmp_path):
    if why_not(decoder):
        pytest.skip(f"{decoder} does not load here")
    path = make(tmp_path / name, **KINDS[name])
    try:
        reader = open_reader(path, decoder)
    except DataError as error:
        if "use decoder auto" in str(error):
            return
        raise
    wanted = [70, 1, 119, 29, 30, 0, 61, 92]
    assert numbers(reader, wanted) == wanted
    reader.close()


@pytest.mark.parametrize("decoder", ["torchcodec", "decord"])
@pytest.mark.parametrize(
    ("name", "place", "told"), [("x.mp4", 60, ""), ("x.mp4", 62, "go back"), ("x.mkv", 62, "go back")]
)
def test_another_decoder_is_compared_at_every_pause(decoder, name, place, told, tmp_path):
    """Pictures from a place on come seven frames later, also those that belong before the last of the earlier ones."""
    if why_not(decoder):
        pytest.skip(f"{decoder} does not load here")
    path = tmp_path / name
    with av.open(str(make(tmp_path / "whole.mp4"))) as given, av.open(str(path), "w") as out:
        stream = given.streams.video[0]
        made = out.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in given.demux(stream) if packet.size):
            late = 7 * round(1 / (30 * packet.time_base)) if number >= place else 0
            packet.pts, packet.dts, packet.stream = packet.pts + late, packet.dts + late, made
            out.mux(packet)
    if told:
        with pytest.raises(DataError, match=rf"{path}: .*{told}"):
            open_reader(path, decoder)
        return
    reader = open_reader(path, decoder)
    shown = reader.frames_at(np.array([1.99, 2.1, 2.24, 2.4])).numpy()
    assert [number_in(frame) for frame in shown] == [59, 59, 60, 65]
    reader.close()


def test_pictures_without_times_of_showing_are_refused(tmp_path):
    with pytest.raises(DataError, match="without a time of showing"):
        open_reader(make(tmp_path / "reordered.avi"))


def test_two_recordings_in_one_file_are_refused(tmp_path):
    one = make(tmp_path / "one.ts").read_bytes()
    (tmp_path / "two.ts").write_bytes(one + one)
    with pytest.raises(DataError, match="timestamps begin again"):
        open_reader(tmp_path / "two.ts")


def lists(root: Path, *spans) -> None:
    rows = [
        f"P01_01_{n},P01,P01_01,,00:00:{a:05.2f},00:00:{b:05.2f},1,2,take cup,take,0,cup,13,\"['cup']\",[13]"
        for n, (a, b) in enumerate(spans)
    ]
    head = (
        "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame"
    )
    (root / "annotations").mkdir(parents=True)
    (root / "annotations/EPIC_100_train.csv").write_text(
        f"{head},narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n" + "\n".join(rows) + "\n"
    )


@pytest.fixture
def late(tmp_path):
    """The middle of a transport stream: its first pictures lack the keyframe they are predicted from."""
    whole = make(tmp_path / "whole.ts").read_bytes()
    video = tmp_path / "root/videos/P01/P01_01.MP4"
    video.parent.mkdir(parents=True)
    video.write_bytes(whole[len(whole) // 8 // 188 * 188 :])
    lists(tmp_path / "root", (0.05, 0.2), (1.5, 2.0), (2.2, 2.7))
    with av.open(str(video)) as container:
        shown = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
        return tmp_path / "root", round((min(shown) - 6000) / 3000)  # PyAV writes frame 0 at 6000 ticks of 1/90000 s


def test_a_first_picture_after_the_start(late):
    root, base = late
    assert 1 < base < 25
    with pytest.raises(DataError, match="the first frame that decodes is at"):
        read_frames(root, "P01_01", [0.05])
    segment = Segment("x", "P01", "P01_01", 1.5, 2.0, 1, 2, 0, 0)
    times = np.array([1.5, 1.75, 2.0])
    wanted = [base + int((time + 0.0005) * 30) for time in times]
    assert [number_in(frame) for frame in read_frames(root, "P01_01", times)] == wanted
    data = DataRoot(root)
    prepare(make_plan(data, [segment], "rgb", Settings(128, 20, 0.1)), data, workers=1)
    stored = ClipSource(data, ("rgb",), prepared=("rgb",)).read(segment, times)["rgb"].numpy()
    assert [number_in(frame) for frame in stored] == wanted
    compute_flow(root / "videos/P01/P01_01.MP4", root / "flow/P01/P01_01.mp4", "P01_01")
    with pytest.raises(DataError, match="the first frame that decodes is at"):
        read_frames(root, "P01_01", [0.05], "flow")
    with av.open(str(root / "flow/P01/P01_01.mp4")) as container:
        first = next(container.decode(video=0))
    assert first.time * 30 == pytest.approx(30 + 2, abs=0.1)  # frame 30, by the source's own timestamps
    for deep in (False, True):
        found = check_data(data=root, modality="rgb", deep=deep, workers=1)
        assert list(found.unreadable) == ["P01_01_0"]


def test_the_check_agrees_with_the_deep_one_and_compares_decoders(tmp_path, monkeypatch, capsys):
    make(tmp_path / "root/videos/P01/P01_01.MP4", container="mpegts")
    lists(tmp_path / "root", (0.1, 1.0), (3.0, 3.9))
    for options in ([], ["--deep"], ["--deep", "--compare"]):
        words = ["epicsub", "data", "check", "--data", str(tmp_path / "root"), "--workers", "1", *options]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as done:
            run()
        assert done.value.code == 0
    said = capsys.readouterr().out
    assert "decoder pyav: pictures and times right in 1 of 1 video" in said
    assert "use decoder pyav (which auto is)" in said


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ((0, 65536, 0, -65536, 0, 0), "turns its pictures by -90 degrees"),
        ((-65536, 0, 0, 0, 65536, 0), "mirrors its pictures"),
        ((65536, 0, 0, 0, -65536, 0), "mirrors its pictures"),
    ],
)
def test_flow_refuses_what_rgb_refuses(matrix, words, tmp_path):
    path = make(tmp_path / "turned.mp4")
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 44
    data[place : place + 36] = struct.pack(">9i", *matrix, 0, 0, 1 << 30)
    path.write_bytes(data)
    with pytest.raises(DataError, match=words):
        open_reader(path).frames_at(np.zeros(1))
    with pytest.raises(DataError, match=words):
        compute_flow(path, tmp_path / "flow.mp4", "P01_01")


@pytest.mark.parametrize("damage", ["hole", "end of zeros", "cut"])
def test_a_damaged_jpeg_is_found(damage, tmp_path):
    folder = tmp_path / "root/rgb_frames/P01/P01_01"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(-30, 30, (128, 160))
    good = cv2.imencode(".jpg", np.clip(picture(5, *SIZE) + noise, 0, 255).astype(np.uint8))[1].tobytes()
    half = len(good) // 2
    bad = {"hole": good[:half] + bytes(512) + good[half + 512 :], "end of zeros": good[:half] + bytes(len(good) - half)}
    for number in range(1, 61):
        (folder / f"frame_{number:010d}.jpg").write_bytes(bad.get(damage, good[:half]) if number == 41 else good)
    lists(tmp_path / "root", (0.1, 0.9))
    found = check_data(data=tmp_path / "root", deep=True, workers=1)
    assert ["frame_0000000041.jpg is no readable JPEG" in report.problems[0] for report in found.broken] == [True]


def test_damage_is_never_shown_as_good(tmp_path):
    """Bytes changed at random places of a stream without a checksum: each frame is right or refused."""
    good = make(tmp_path / "good.mp4")
    for seed in range(6):
        rng, data = np.random.default_rng(seed), bytearray(good.read_bytes())
        for place in rng.integers(2000, len(data) - 8000, 4):
            data[place] ^= int(rng.integers(1, 256))
        bad = tmp_path / f"bad{seed}.mp4"
        bad.write_bytes(data)
        try:
            reader = open_reader(bad)
        except DataError:
            continue
        found = numbers(reader, range(0, COUNT, 7))
        assert all(number in (None, place) for number, place in zip(found, range(0, COUNT, 7), strict=True)), seed
        reader.close()
    shutil.rmtree(tmp_path)
