"""Every decoder gives the frame on show at a time, and says what is wrong with a file."""

import math
import struct
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from epicsub.data.decode import reader as readers
from epicsub.data.decode.reader import DECODERS, choose_decoder, open_reader, why_not
from epicsub.errors import DataError


@pytest.fixture(params=DECODERS)
def decoder(request):
    if reason := why_not(request.param):
        pytest.skip(f"{request.param} does not load here: {reason}")
    return request.param


def on_show(time, rate, count):
    """The number of the frame on show at `time`, in exact fractions."""
    return min(math.floor((Fraction(time) + Fraction(1, 2000)) * rate), count - 1)


@pytest.mark.parametrize("name", ["59.94", "50", "47.95", "29.97", "90"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frame_on_show_at_every_rate(decoder, name, suffix, rates, make_video, read_number, tmp_path):
    rate, count = rates[name], 200
    path = make_video(tmp_path / f"video.{suffix}", count, rate)
    reader = open_reader(path, decoder)
    rng = np.random.default_rng(0)
    times = rng.uniform(0, float(count / rate), 60)
    # keep clear of the moment of change by a millisecond: containers of whole milliseconds cannot tell
    near = np.abs(times * float(rate) - np.round(times * float(rate))) / float(rate) < 1.1e-3
    times[near] += 2.5e-3
    frames = reader.frames_at(times)
    assert frames.shape == (60, 80, 100, 3)
    assert frames.dtype == torch.uint8
    assert [read_number(frame) for frame in frames.numpy()] == [on_show(time, rate, count) for time in times]
    assert reader.fps == pytest.approx(float(rate), rel=1e-3)
    assert reader.duration == pytest.approx(float(count / rate), abs=0.02)
    assert (reader.width, reader.height) == (100, 80)
    reader.close()


def test_exact_frame_times_give_those_frames(decoder, rates, make_video, read_number, tmp_path):
    rate = rates["59.94"]
    reader = open_reader(make_video(tmp_path / "video.mp4", 150, rate), decoder)
    frames = reader.frames_at(np.array([float(number / rate) for number in range(150)]))
    assert [read_number(frame) for frame in frames.numpy()] == list(range(150))


def test_order_and_repeats_do_not_matter(decoder, rates, make_video, read_number, tmp_path):
    reader = open_reader(make_video(tmp_path / "video.mp4", 120, rates["50"]), decoder)
    wanted = [90, 3, 3, 119, 0, 57, 56, 90]
    frames = reader.frames_at(np.array([(number + 0.5) / 50 for number in wanted]))
    assert [read_number(frame) for frame in frames.numpy()] == wanted
    again = reader.frames_at(np.array([57.5 / 50, 58.5 / 50]))  # forward, then on from where it stands
    assert [read_number(frame) for frame in again.numpy()] == [57, 58]


@pytest.mark.parametrize(("gop", "b_frames"), [(8, 0), (8, 3), (250, 3), (1, 0)])
def test_any_keyframe_interval(decoder, gop, b_frames, rates, make_video, read_number, tmp_path):
    path = make_video(tmp_path / "video.mp4", 180, rates["59.94"], gop=gop, b_frames=b_frames)
    reader = open_reader(path, decoder)
    rng = np.random.default_rng(gop)
    for _ in range(25):
        wanted = np.sort(rng.integers(0, 180, 5))
        frames = reader.frames_at((wanted + 0.5) / float(rates["59.94"]))
        assert [read_number(frame) for frame in frames.numpy()] == wanted.tolist()


def test_times_count_from_the_first_frame(decoder, rates, make_video, read_number, tmp_path):
    path = make_video(tmp_path / "late.mkv", 60, rates["50"], first=25)
    reader = open_reader(path, decoder)
    assert [read_number(frame) for frame in reader.frames_at(np.array([0.01, 0.5])).numpy()] == [0, 25]


def test_decoders_agree_on_content(decoder, rates, make_video, tmp_path):
    path = make_video(tmp_path / "video.mp4", 60, rates["59.94"])
    times = np.linspace(0, 0.95, 7)
    ours, theirs = (open_reader(path, name).frames_at(times).float() for name in ("pyav", decoder))
    assert (ours - theirs).abs().mean() < 1.0  # libraries differ in how they round chroma, not in the picture


def test_past_the_end(decoder, rates, make_video, read_number, tmp_path):
    reader = open_reader(make_video(tmp_path / "video.mp4", 50, rates["50"]), decoder)
    last = reader.frames_at(np.array([1.0, 1.015]))  # the last frame is at 0.98 s
    assert [read_number(frame) for frame in last.numpy()] == [49, 49]
    with pytest.raises(DataError, match=r"video\.mp4.*last frame that decodes.*1\.1"):
        reader.frames_at(np.array([0.5, 1.1]))
    assert read_number(reader.frames_at(np.array([0.5]))[0].numpy()) == 25  # still usable


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_cut_in_half(decoder, suffix, rates, make_video, tmp_path):
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    whole = make_video(tmp_path / f"whole.{suffix}", 400, rates["50"], options=options)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"cut\.{suffix}.*(cut off|damaged)"):
        open_reader(cut, decoder).frames_at(np.array([7.5]))


def test_cut_before_its_index(decoder, rates, make_video, tmp_path):
    whole = make_video(tmp_path / "whole.mp4", 100, rates["50"])
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut\.mp4.*cannot be opened as a video"):
        open_reader(cut, decoder)


def test_no_file_no_bytes_no_video(decoder, tmp_path):
    with pytest.raises(DataError, match=r"none\.mp4.*No such file"):
        open_reader(tmp_path / "none.mp4", decoder)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(DataError, match=r"empty\.mp4.*0 bytes"):
        open_reader(tmp_path / "empty.mp4", decoder)
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    with pytest.raises(DataError, match=r"text\.mp4.*cannot be opened as a video"):
        open_reader(tmp_path / "text.mp4", decoder)
    with pytest.raises(DataError, match="is not a file"):
        open_reader(tmp_path, decoder)


def test_a_rotation_flag_is_refused(decoder, make_video, tmp_path):
    path = make_video(tmp_path / "video.mp4", 20)
    data = bytearray(path.read_bytes())
    matrix = data.find(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"video\.mp4: carries a flag that turns its pictures by -90 degrees"):
        open_reader(path, decoder).frames_at(np.zeros(1))


def test_damaged_in_the_middle_is_never_shown_as_good(rates, make_video, read_number, tmp_path):
    path = make_video(tmp_path / "video.mp4", 200, rates["50"], gop=200)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    reader = open_reader(path, "pyav")
    wrong = 0
    for number in range(200):
        try:
            frame = reader.frames_at(np.array([(number + 0.5) / 50]))[0].numpy()
        except DataError:
            wrong += 1
        else:
            assert read_number(frame) == number
    assert 0 < wrong < 200


def test_luma_is_given_as_stored(tmp_path):
    """A ramp over all 256 values comes back to the last bit: no conversion from the narrow range."""
    ramp = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 256), (32, 1))[:, :250]  # 250: lines are padded
    path = tmp_path / "gray.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 250, 32, "yuv420p"
        stream.options = {"qp": "0"}
        for shift in range(5):
            frame = av.VideoFrame(250, 32, "yuv420p")
            for plane, value in zip(frame.planes, (None, 128, 128), strict=True):
                rows = np.full((plane.height, plane.line_size), value or 0, np.uint8)
                if value is None:
                    rows[:, :250] = np.roll(ramp, shift, axis=1)
                plane.update(rows.tobytes())
            frame.pts = shift
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for decoder in ("auto", "pyav"):
        got = open_reader(path, decoder, gray=True).frames_at(np.array([0.0, 2.5 / 30, 4.5 / 30]))
        assert got.shape == (3, 32, 250)
        for row, shift in zip(got.numpy(), (0, 2, 4), strict=True):
            np.testing.assert_array_equal(row, np.roll(ramp, shift, axis=1))


def test_real_clip_without_frame_count(decoder, shared_data):
    path = shared_data / "videos" / "flipping_a_pancake.mkv"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.frames == 0
        shown = [
            (float(frame.pts * stream.time_base), frame.to_ndarray(format="rgb24"))
            for frame in container.decode(stream)
        ]
    reader = open_reader(path, decoder)
    assert reader.duration == pytest.approx(10.334, abs=0.001)  # the sound lasts 10.381 s
    times = np.array([0.0, 0.51, 3.3, 9.99, 10.3, 10.33])
    for time, frame in zip(times, reader.frames_at(times).numpy(), strict=True):
        expected = [image for pts, image in shown if pts <= time + 0.0005][-1]
        assert np.abs(frame.astype(int) - expected).mean() < 1.0


def test_unknown_decoder_and_one_that_does_not_load(monkeypatch):
    with pytest.raises(DataError, match=r"decoder 'opencv': unknown; there are auto, pyav, torchcodec, decord"):
        choose_decoder("opencv")
    monkeypatch.setattr(readers, "why_not", lambda name: None if name == "pyav" else "no library of that name")
    with pytest.raises(DataError, match=r"decoder decord: does not load here \(no library.*auto, pyav$"):
        choose_decoder("decord")
    assert choose_decoder("auto") == "pyav"


@pytest.mark.parametrize("place", ["on import", "on first use"])
def test_torchcodec_without_ffmpeg(place, tmp_path, monkeypatch):
    """Releases differ in when they look for FFmpeg's libraries; both are a reason, not a crash."""
    error = "RuntimeError('Could not load libtorchcodec. Likely causes:\\n 1. FFmpeg is not installed')"
    package = tmp_path / "torchcodec"
    package.mkdir()
    (package / "__init__.py").touch()
    code = f"raise {error}" if place == "on import" else f"def VideoDecoder(source):\n    raise {error}"
    (package / "decoders.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, name)
    assert "lacks FFmpeg" in why_not.__wrapped__("torchcodec")
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    assert why_not.__wrapped__("torchcodec").startswith("import torchcodec.decoders: ")


def test_bad_times_are_a_programming_error(rates, make_video, tmp_path):
    reader = open_reader(make_video(tmp_path / "video.mp4", 10, rates["50"]), "pyav")
    for times in (np.array([-0.1]), np.array([np.nan]), np.array([[0.0]])):
        with pytest.raises(ValueError, match="times"):
            reader.frames_at(times)
