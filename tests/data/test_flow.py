"""Optical flow: known motions come back in pixels, timestamps are those of the video, settings and damage too."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from epicsub.data.flow import FlowSettings, quantise, read_flow_note
from epicsub.data.flow import compute as flow_module
from epicsub.data.flow.compute import _flow_size, compute_flow, flow_for_videos, flow_stride
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.io import hold_folder

FPS = Fraction(60000, 1001)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Soft blobs some pixels wide, on which block matching is at its best."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((height, width)).astype(np.float32), (0, 0), 3)
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return np.repeat((noise * 255).astype(np.uint8)[..., None], 3, axis=2)


def write_video(path: Path, frames: list[np.ndarray], fps: Fraction = FPS, first_pts: int = 0) -> Path:
    """A nearly lossless H.264 video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "2", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = first_pts + index, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def moving(dx: int, dy: int, count: int = 9, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """A window on a texture that moves by (dx, dy) pixels a frame."""
    big = texture(height + 2 * 9 * 8, width + 2 * 9 * 8)
    return [big[72 - dy * i : 72 - dy * i + height, 72 - dx * i : 72 - dx * i + width] for i in range(count)]


def read(path: Path) -> tuple[list[Fraction], np.ndarray]:
    """Timestamps in seconds, (T, H, 2W) luma, decoded the slow and plain way."""
    times, planes = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            times.append(frame.pts * stream.time_base)
            plane = frame.planes[0]
            planes.append(
                np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
            )
    return times, np.stack(planes)


def pixels(levels: np.ndarray, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """u and v in pixels, from the file's grey levels."""
    values = (levels.astype(np.float64) / 127.5 - 1) * bound
    half = levels.shape[-1] // 2
    return values[..., :half], values[..., half:]


@pytest.mark.parametrize("method", ["dis", "tvl1"])
@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (-4, 1)])
def test_a_moving_texture_gives_its_shift(tmp_path: Path, dx: int, dy: int, method: str) -> None:
    if method == "tvl1" and not hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create"):
        pytest.skip("this OpenCV has no TV-L1 (opencv-contrib-python-headless has)")
    video = write_video(tmp_path / "P01_01.mp4", moving(dx, dy, 5))
    compute_flow(video, tmp_path / "flow.mp4", "P01_01", FlowSettings(bound=8.0, method=method))
    u, v = pixels(read(tmp_path / "flow.mp4")[1][:, 16:-16], 8.0)
    step = 8 / 127.5
    assert np.median(u) == pytest.approx(dx, abs=1.5 * step)
    assert np.median(v) == pytest.approx(dy, abs=1.5 * step)


def test_flow_is_in_pixels_of_the_stored_size(tmp_path: Path) -> None:
    video = write_video(tmp_path / "P01_01.mp4", moving(4, 0, 5, height=192, width=256))
    compute_flow(video, tmp_path / "flow.mp4", "P01_01", FlowSettings(short_side=96))
    levels = read(tmp_path / "flow.mp4")[1]
    assert levels.shape[1:] == (96, 2 * 128)
    assert np.median(pixels(levels, 8.0)[0]) == pytest.approx(2.0, abs=0.1)


def test_no_motion_is_the_middle_grey(tmp_path: Path) -> None:
    video = write_video(tmp_path / "P01_01.mp4", [texture(96, 128)] * 6)
    compute_flow(video, tmp_path / "flow.mp4", "P01_01")
    assert set(np.unique(read(tmp_path / "flow.mp4")[1])) <= {127, 128}


def test_quantise_by_hand() -> None:
    flow = np.array([[[-9.0, -8.0], [0.0, 8.0], [30.0, 4.0]]])
    # (4 / 8 + 1) * 127.5 = 191.25
    assert quantise(flow, 8.0).tolist() == [[[0, 0], [128, 255], [255, 191]]]


@pytest.mark.parametrize(
    ("video_id", "fps", "frames", "wanted"),
    [
        ("P01_01", FPS, 9, [0, 2, 4, 6]),  # frame 8 has no next one
        ("P01_01", FPS, 10, [0, 2, 4, 6, 8]),
        ("P01_101", Fraction(50), 5, [0, 1, 2, 3]),
    ],
)
@pytest.mark.parametrize("first_pts", [0, 7])
def test_timestamps_are_those_of_the_frames_that_flow_starts_from(
    tmp_path: Path, video_id: str, fps: Fraction, frames: int, wanted: list[int], first_pts: int
) -> None:
    video = write_video(tmp_path / f"{video_id}.mp4", moving(1, 0, frames), fps, first_pts)
    count = compute_flow(video, tmp_path / "flow.mp4", video_id)
    rgb_times = read(video)[0]
    times = read(tmp_path / "flow.mp4")[0]
    assert times == [rgb_times[i] for i in wanted]
    assert count == len(wanted)


def test_flow_at_stride_two_belongs_to_the_frame_it_starts_from(tmp_path: Path) -> None:
    """The texture moves only from frame 2 to 3 and from frame 5 to 6: the first is seen, the second is skipped."""
    frames = moving(4, 0, 3)
    still, moved, again = frames
    video = write_video(tmp_path / "P01_01.mp4", [still, still, still, moved, moved, moved, again, again])
    compute_flow(video, tmp_path / "flow.mp4", "P01_01")
    u = pixels(read(tmp_path / "flow.mp4")[1], 8.0)[0]
    assert [round(float(np.median(x))) for x in u] == [0, 4, 0, 0]


def test_keyframes_and_note(tmp_path: Path) -> None:
    video = write_video(tmp_path / "P01_101.mp4", moving(1, 1, 20), Fraction(50))
    compute_flow(video, tmp_path / "flow.mp4", "P01_101", FlowSettings(short_side=64, bound=5))
    with av.open(str(tmp_path / "flow.mp4")) as container:
        stream = container.streams.video[0]
        keys = [i for i, frame in enumerate(container.decode(stream)) if frame.key_frame]
        assert stream.codec_context.color_range == 2  # full range
    assert keys == [0, 8, 16]
    assert read_flow_note(tmp_path / "flow.mp4") == {
        "epicsub_flow": 1,
        "bound": 5.0,
        "stride": 1,
        "method": "dis",
        "short_side": 64,
        "source": {"name": "P01_101.mp4", "bytes": video.stat().st_size},
    }


@pytest.mark.parametrize(
    ("size", "short_side", "wanted"),
    [
        ((1920, 1080), 256, (455, 256)),
        ((96, 72), 256, (96, 72)),  # never upscaled
        ((97, 73), 256, (97, 72)),  # the height is even
        ((1080, 1920), 256, (256, 454)),
        ((640, 360), 57, (101, 56)),
    ],
)
def test_size(size: tuple[int, int], short_side: int, wanted: tuple[int, int]) -> None:
    assert _flow_size(*size, short_side) == wanted


def test_odd_sizes_and_unaligned_rows(tmp_path: Path) -> None:
    video = write_video(tmp_path / "P01_01.mp4", moving(2, 0, 5, height=90, width=122))
    compute_flow(video, tmp_path / "flow.mp4", "P01_01", FlowSettings(short_side=53))
    assert read(tmp_path / "flow.mp4")[1].shape == (2, 52, 2 * 72)


@pytest.mark.parametrize("video_id", ["P01", "pancake", "P01_1001", "P1_01", "P01_201"])
def test_ids_without_a_stride_rule(video_id: str) -> None:
    with pytest.raises(DataError, match=f"{video_id}: the flow stride"):
        flow_stride(video_id)


def test_wrong_settings_are_reported_together() -> None:
    with pytest.raises(DataError) as error:
        FlowSettings(short_side=3, bound=0, method="raft")
    assert all(text in str(error.value) for text in ("short_side=3", "bound=0", "method=raft: there are dis, tvl1"))


def test_tvl1_without_the_contrib_build_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "optflow", raising=False)
    with pytest.raises(DataError, match="opencv-contrib-python-headless"):
        flow_module._make_estimator("tvl1", 256)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("P01_01", "P01_02", "P02_101"):
        write_video(tmp_path / "data" / "videos" / name[:3] / f"{name}.MP4", moving(1, 0, 6))
    return tmp_path / "data"


def test_run_again_keeps_what_is_whole(root: Path) -> None:
    ids = ["P01_01", "P01_02", "P02_101"]
    first = flow_for_videos(DataRoot(root), ids, workers=1)
    assert (first.computed, first.kept) == (3, 0)
    files = {name: root / "flow" / name[:3] / f"{name}.mp4" for name in ids}
    stamps = {name: files[name].stat().st_mtime_ns for name in ids}
    files["P01_01"].write_bytes(files["P01_01"].read_bytes()[:-900])  # damaged by a copy that broke off
    (files["P01_02"].parent / ".P01_02.zzz_1234.mp4").write_bytes(b"left behind by a kill")
    second = flow_for_videos(DataRoot(root), ids, workers=1)
    assert (second.computed, second.kept) == (1, 2)
    assert read_flow_note(files["P01_01"]) is not None
    assert {n: files[n].stat().st_mtime_ns == stamps[n] for n in ids} == {
        "P01_01": False, "P01_02": True, "P02_101": True,
    }  # fmt: skip
    assert sorted(path.name for path in (root / "flow" / "P01").iterdir()) == ["P01_01.mp4", "P01_02.mp4"]


def test_flow_of_other_settings_is_refused_before_anything_is_computed(root: Path) -> None:
    flow_for_videos(DataRoot(root), ["P01_01"], workers=1)
    with pytest.raises(DataError, match=r"P01_01\.mp4: bound 8\.0 there, 5\.0 asked"):
        flow_for_videos(DataRoot(root), ["P01_01", "P01_02"], FlowSettings(bound=5), workers=1)
    assert not (root / "flow" / "P01" / "P01_02.mp4").exists()
    done = flow_for_videos(DataRoot(root), ["P01_01", "P01_02"], FlowSettings(bound=5), workers=1, overwrite=True)
    assert done.computed == 2


def test_two_at_once_are_refused(root: Path) -> None:
    mine = root / "flow" / "P01" / ".P01_01.zzz_1234.mp4"
    with hold_folder(root / "flow"):
        mine.parent.mkdir()
        mine.write_bytes(b"being written")
        with pytest.raises(DataError, match="another process is writing there"):
            flow_for_videos(DataRoot(root), ["P01_01"], workers=1)
        assert mine.exists()
    assert flow_for_videos(DataRoot(root), ["P01_01"], workers=1).computed == 1


def test_flow_of_another_file_is_refused(root: Path) -> None:
    flow_for_videos(DataRoot(root), ["P01_01"], workers=1)
    write_video(root / "videos" / "P01" / "P01_01.MP4", moving(2, 0, 12))
    with pytest.raises(DataError, match="source"):
        flow_for_videos(DataRoot(root), ["P01_01"], workers=1)


def test_broken_videos_are_reported_together_and_the_good_ones_done(root: Path) -> None:
    half = root / "videos" / "P01" / "P01_01.MP4"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    (root / "videos" / "P01" / "P01_03.MP4").write_bytes(b"")
    write_video(root / "videos" / "P01" / "P01_04.MP4", moving(1, 0, 1))
    with pytest.raises(DataError) as error:
        flow_for_videos(DataRoot(root), ["P01_01", "P01_02", "P01_03", "P01_04", "P01_05", "P02_101"], workers=2)
    lines = str(error.value).splitlines()
    assert lines[0] == "no flow for 4 of 6 videos, the others are done; mend these and run it again:"
    assert [line.split(":")[0] for line in lines[1:]] == ["P01_01", "P01_03", "P01_04", "P01_05"]
    assert "found 1" in lines[3]
    assert sorted(path.name for path in (root / "flow").glob("*/*")) == ["P01_02.mp4", "P02_101.mp4"]


def test_a_video_that_ends_before_its_header_says(tmp_path: Path) -> None:
    """Matroska cut off in the middle still opens and decodes: its header tells."""
    video = write_video(tmp_path / "P01_01.mkv", [texture(48, 64, seed) for seed in range(240)])
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(DataError, match=r"header says|decoding fails"):
        compute_flow(video, tmp_path / "flow.mp4", "P01_01")
    assert not (tmp_path / "flow.mp4").exists()


def test_the_real_clip(tmp_path: Path, shared_data: Path) -> None:
    video = shared_data / "videos" / "flipping_a_pancake.mkv"
    count = compute_flow(video, tmp_path / "flow.mp4", "P01_101", FlowSettings(short_side=64))
    rgb_times, flow_times = read_times(video), read(tmp_path / "flow.mp4")[0]
    assert count == len(rgb_times) - 1 == len(flow_times)
    assert flow_times == rgb_times[:-1]
    u, v = pixels(read(tmp_path / "flow.mp4")[1], 8.0)
    assert 0.05 < float(np.hypot(u, v).mean()) < 4


def read_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * stream.time_base for frame in container.decode(stream)]
