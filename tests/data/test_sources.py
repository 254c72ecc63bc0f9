"""Segments to pixels: every form of video, every problem with its narration id, files open or not."""

import multiprocessing
import pickle

import av
import cv2
import numpy as np
import pytest

from epicsub.data.annotations import Segment
from epicsub.data.decode.reader import open_reader
from epicsub.data.root import DataRoot
from epicsub.data.sources import THUMBNAIL_HEIGHT, ClipSource, middle_frames, read_frames
from epicsub.errors import DataError


def segment(video="P01_01", start=0.5, stop=1.5, number=0):
    return Segment(f"{video}_{number}", video[:3], video, start, stop, 1, 2, 0, 0)


def write_flow(path, count, rate, size=(48, 32)):
    """u of picture k is 2k, v is 255 - 2k."""
    width, height = size
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 2 * width, height, "yuv420p"
        stream.options = {"qp": "0", "g": "8"}
        for number in range(count):
            planes = np.full((height * 3 // 2, 2 * width), 128, np.uint8)
            planes[:height, :width], planes[:height, width:] = 2 * number, 255 - 2 * number
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_video, rates):
    folder = tmp_path_factory.mktemp("root")
    for number in (1, 2, 3):
        make_video(folder / "videos" / "P01" / f"P01_{number:02d}.MP4", 120, rates["59.94"])
    write_flow(folder / "flow" / "P01" / "P01_01.mp4", 60, rates["29.97"])
    return DataRoot(folder)


def test_rgb_and_flow_of_the_same_moment(root, read_number):
    clips = ClipSource(root, ("rgb", "flow"), "pyav").read(segment(), np.array([0.6, 0.9, 1.2]))
    assert clips["rgb"].shape == (3, 80, 100, 3)
    assert clips["flow"].shape == (3, 32, 48, 2)
    numbers = [read_number(frame) for frame in clips["rgb"].numpy()]
    assert numbers == [int(time * 60000 / 1001 + 0.03) for time in (0.6, 0.9, 1.2)]
    for flow, number in zip(clips["flow"], numbers, strict=True):
        assert (flow[..., 0] == 2 * (number // 2)).all()
        assert (flow[..., 1] == 255 - 2 * (number // 2)).all()


def test_times_of_their_own(root, read_number):
    clips = ClipSource(root, ("rgb", "flow")).read(segment(), {"rgb": np.array([0.01]), "flow": np.array([1.0, 1.01])})
    assert read_number(clips["rgb"][0].numpy()) == 0
    assert clips["flow"].shape[0] == 2
    assert clips["flow"][0, 0, 0, 0] == 2 * 29


def test_a_little_past_the_end_is_cut_and_noted(root, read_number):
    source = ClipSource(root, ("rgb",))
    clips = source.read(segment(start=1.0, stop=2.5), np.array([1.0, 1.99, 2.2, 2.5]))  # the video lasts 2.002 s
    assert [read_number(frame) for frame in clips["rgb"].numpy()] == [59, 119, 119, 119]
    assert source.cut == {"P01_01_0"}
    source.read(segment(start=1.0, stop=1.5, number=1), np.array([1.0]))
    assert source.cut == {"P01_01_0"}


def test_far_past_the_end_is_an_error(root):
    with pytest.raises(
        DataError, match=r"^P01_01_7: .*P01_01\.MP4: lasts 2\.002 s, the segment ends at 9\.00 s: too short"
    ):
        ClipSource(root, ("rgb",)).read(segment(start=8.0, stop=9.0, number=7), np.array([8.0]))


def test_missing_names_narration_and_places(root):
    with pytest.raises(DataError, match=r"^P09_01_0: no rgb for video P09_01 \(looked for .*videos/P09/P09_01\.MP4"):
        ClipSource(root, ("rgb",)).read(segment("P09_01"), np.array([0.5]))
    with pytest.raises(DataError, match=r"^P01_02_0: no flow for video P01_02"):
        ClipSource(root, ("rgb", "flow")).read(segment("P01_02"), np.array([0.5]))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"", "the file is empty"),
        (lambda data: data[: len(data) // 2], "cannot be opened as a video"),
        (lambda data: b"<html>404</html>", "cannot be opened as a video"),
    ],
)
def test_damaged_names_narration_path_and_reason(tmp_path, make_video, damage, words):
    path = make_video(tmp_path / "videos" / "P01" / "P01_01.MP4", 60)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"^P01_01_0: .*P01_01\.MP4: {words}"):
        ClipSource(DataRoot(tmp_path), ("rgb",)).read(segment(), np.array([0.6]))


def test_cut_file_with_a_whole_header(tmp_path, make_video):
    """The header comes first and promises four seconds; half of the pictures are gone."""
    path = make_video(tmp_path / "videos" / "P01" / "P01_01.MP4", 240, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = ClipSource(DataRoot(tmp_path), ("rgb",), "pyav")
    source.read(segment(start=0, stop=1), np.array([0.5]))
    for _ in range(2):  # and again: what failed is opened anew
        with pytest.raises(DataError, match=r"^P01_01_0: .*P01_01\.MP4: .*(cut off|damaged)"):
            source.read(segment(start=3, stop=4), np.array([3.5]))
    source.read(segment(start=0, stop=1), np.array([0.5]))


def test_extracted_frames(tmp_path):
    for folder in ("rgb_frames/P01/P01_01", "flow_frames/P01/P01_01/u", "flow_frames/P01/P01_01/v"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(1, 61):
            cv2.imwrite(str(tmp_path / folder / f"frame_{number:010d}.jpg"), np.full((16, 24, 3), 2 * number, np.uint8))
    clips = ClipSource(DataRoot(tmp_path), ("rgb", "flow")).read(segment(stop=0.9), np.array([0.5]))
    assert clips["rgb"][0, 0, 0].tolist() == [62, 62, 62]  # frame 31 of those counted from 1
    assert clips["flow"][0, 0, 0].tolist() == [32, 32]  # flow picture 16


def test_few_files_stay_open(root):
    source = ClipSource(root, ("rgb",), "pyav", cache_size=2)
    readers = {}
    for video in ("P01_01", "P01_02", "P01_01", "P01_03"):
        source.read(segment(video), np.array([0.5]))
        readers.setdefault(video, source._readers[video, "rgb"])
    assert list(source._readers) == [("P01_01", "rgb"), ("P01_03", "rgb")]
    assert source._readers["P01_01", "rgb"] is readers["P01_01"]
    source.close()
    assert not source._readers


def numbers_read(source, read_number, results):
    clips = source.read(segment(), np.array([0.6, 1.2]))
    results.put([read_number(frame) for frame in clips["rgb"].numpy()])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_forked_reader_opens_its_own_file(root, read_number):
    source = ClipSource(root, ("rgb",), "pyav")
    source.read(segment(), np.array([0.5]))
    parents = source._readers["P01_01", "rgb"]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=numbers_read, args=(source, read_number, results)) for _ in range(2)]
    for child in children:
        child.start()
    assert [results.get(timeout=30) for _ in children] == [[35, 71], [35, 71]]
    for child in children:
        child.join()
    assert source._readers["P01_01", "rgb"] is parents
    assert read_number(source.read(segment(), np.array([0.6]))["rgb"][0].numpy()) == 35


def test_pickled_source_leaves_its_files_behind(root, read_number):
    source = ClipSource(root, ("rgb",), "pyav", cache_size=3)
    source.read(segment(), np.array([0.5]))
    copy = pickle.loads(pickle.dumps(source))
    assert not copy._readers
    assert copy.cache_size == 3
    assert read_number(copy.read(segment(), np.array([0.6]))["rgb"][0].numpy()) == 35


def test_impossible_sources(root):
    with pytest.raises(ValueError, match="sound"):
        ClipSource(root, ("rgb", "sound"))
    with pytest.raises(DataError, match="decoder 'opencv'"):
        ClipSource(root, ("rgb",), "opencv")


@pytest.mark.parametrize("modality", ["rgb", "flow"])
def test_read_frames_gives_what_a_clip_source_reads(root, modality):
    times = [0.6, 1.2, 0.9]
    frames = read_frames(root.path, "P01_01", times, modality)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, ClipSource(root, (modality,)).read(segment(), np.array(times))[modality])


def test_read_frames_refuses(root):
    with pytest.raises(DataError, match="no flow for video P01_02"):
        read_frames(root.path, "P01_02", [0.0], "flow")
    with pytest.raises(DataError, match=r"a frame at 3\.000 s was asked for"):
        read_frames(root.path, "P01_02", [3.0])
    with pytest.raises(ValueError, match="audio"):
        read_frames(root.path, "P01_02", [0.0], "audio")


@pytest.fixture
def pancake_root(tmp_path, shared_data):
    folder = tmp_path / "videos" / "P01"
    folder.mkdir(parents=True)
    (folder / "P01_101.mkv").symlink_to(shared_data / "videos" / "flipping_a_pancake.mkv")
    return DataRoot(tmp_path)


def test_real_clip(pancake_root):
    source = ClipSource(pancake_root, ("rgb",))
    clip = source.read(segment("P01_101", 8.0, 10.38), np.linspace(8.0, 10.38, 16))["rgb"]
    assert clip.shape == (16, 240, 426, 3)
    assert clip.float().std() > 20  # a picture, not black
    assert source.cut == {"P01_101_0"}  # its pictures end at 10.334 s, its sound at 10.381 s


def test_the_frame_is_the_one_in_the_middle(pancake_root):
    found = middle_frames(pancake_root, [segment("P01_101", 2.0, 4.0, "a"), segment("P01_101", 7.0, 8.0, "b")], "pyav")
    reader = open_reader(pancake_root.video("P01_101"), "pyav")
    for name, time in (("a", 3.0), ("b", 7.5)):
        picture = cv2.imdecode(np.frombuffer(found[f"P01_101_{name}"], np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (THUMBNAIL_HEIGHT, round(426 * THUMBNAIL_HEIGHT / 240), 3)
        frame = reader.frames_at(np.array([time]))[0].numpy()[..., ::-1]
        small = cv2.resize(frame, picture.shape[1::-1], interpolation=cv2.INTER_AREA)
        other = cv2.resize(reader.frames_at(np.array([10.5 - time]))[0].numpy()[..., ::-1], picture.shape[1::-1])
        assert np.abs(picture.astype(int) - small).mean() < 4 < np.abs(picture.astype(int) - other).mean()
    assert len(found["P01_101_a"]) < 20_000


def test_a_frame_that_cannot_be_had_says_why(pancake_root):
    found = middle_frames(pancake_root, [segment("P01_101", 2.0, 4.0, "a"), segment("P02_01", 0.0, 1.0, "b")])
    assert found["P02_01_b"].startswith("P02_01_b: no rgb for video P02_01")
    assert isinstance(found["P01_101_a"], bytes)


WIDTH, HEIGHT, FRAMES, RATE = 160, 120, 90, 60


def texture():
    """A coloured cloth, larger than the picture: smooth enough for a codec, rough enough to tell frames apart."""
    rough = np.random.default_rng(0).uniform(0, 255, (20, 30, 3)).astype(np.float32)
    return np.clip(cv2.resize(rough, (600, 400), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


@pytest.fixture
def cloth_root(tmp_path, rates):
    """The video, and beside it, for the second root, its frames as JPEGs at 60 per second from number 1."""
    cloth, video = texture(), tmp_path / "a/videos/P01/P01_01.MP4"
    video.parent.mkdir(parents=True)
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=rates["59.94"])
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast", "threads": "1"}
        for number in range(FRAMES):
            left, top = 3 * number, 2 * number
            picture = np.ascontiguousarray(cloth[top : top + HEIGHT, left : left + WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    folder = tmp_path / "b/rgb_frames/P01/P01_01"
    folder.mkdir(parents=True)
    with av.open(str(video)) as container:
        shown = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert len(shown) == FRAMES
    for index in range(FRAMES):
        number = index * rates["59.94"] // RATE
        cv2.imwrite(str(folder / f"frame_{index + 1:010d}.jpg"), shown[number])
    return tmp_path


def test_extracted_frames_are_the_originals(cloth_root):
    """At the instants of the organisers' frames, where both show the same picture.

    From half a second on: before it, less than half a millisecond, which is rounding, lies between two frames.
    """
    times = np.arange(32, 84, 4) / RATE
    original, extracted = (
        ClipSource(DataRoot(cloth_root / name), ("rgb",)).read(segment(stop=1.4), times)["rgb"] for name in "ab"
    )
    assert original.shape == extracted.shape == (13, HEIGHT, WIDTH, 3)
    apart = (original.float() - extracted.float()).abs()
    assert apart.mean((1, 2, 3)).max() < 4  # measured: 3.2, most of it colour at half the size
    assert (original.float().mean((1, 2)) - extracted.float().mean((1, 2))).abs().max() < 1  # no shift of colour
    later = ClipSource(DataRoot(cloth_root / "a"), ("rgb",)).read(segment(stop=1.4), times + 1 / RATE)["rgb"]
    assert (later.float() - extracted.float()).abs().mean((1, 2, 3)).min() > 12  # a frame off shows; measured: 13.7
