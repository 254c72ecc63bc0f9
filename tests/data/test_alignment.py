"""Original, prepared store and extracted frames show the same instant, at every frame rate, late in long videos too."""

import math
import shutil
import tarfile
from fractions import Fraction

import numpy as np
import pytest

from epicsub.data.annotations import Segment
from epicsub.data.decode.reader import DECODERS, open_reader, why_not
from epicsub.data.frames import index_rate, index_stride
from epicsub.data.prepared.plan import Settings, make_plan
from epicsub.data.prepared.write import prepare
from epicsub.data.root import DataRoot
from epicsub.data.sources import ClipSource

from .sparse import GROUP, number_in, write_jpegs, write_sparse, write_whole

LATE = 3420  # seconds: an index counted at 60 instead of 59.94 is 3.4 s off here
PARTS = ((0.0, 2.6), (LATE, LATE + 2.6))
MARGIN = 0.25
HALF_MILLISECOND = Fraction(1, 2000)
INSTALLED = [decoder for decoder in DECODERS if why_not(decoder) is None]


def shown(time, rate):
    """The number of the frame on show, in exact fractions."""
    return math.floor((Fraction(time) + HALF_MILLISECOND) * rate)


def instants(rate, rng):
    """Times in both parts, clear of the moments at which a frame changes."""
    times = np.concatenate([rng.uniform(start + 0.5, stop - 0.5, 25) for start, stop in PARTS])
    near = np.abs(times * float(rate) - np.round(times * float(rate))) / float(rate) < 1.1e-3
    return np.sort(np.where(near, times + 2.5e-3, times))


def segments_of(video):
    return [
        Segment(f"{video}_{number}", "P01", video, start + 0.5, stop - 0.5, 1, 2, 0, 0)
        for number, (start, stop) in enumerate(PARTS)
    ]


def read_all(root, video, times, prepared, decoder="auto"):
    """Numbers in the rgb and flow pictures at `times`."""
    source = ClipSource(root, ("rgb", "flow"), decoder, prepared=("rgb", "flow") if prepared else ())
    numbers = {"rgb": [], "flow": []}
    for segment, part in zip(segments_of(video), np.split(times, 2), strict=True):
        for modality, clip in source.read(segment, part).items():
            for picture in clip.numpy():
                numbers[modality].append(number_in(picture[..., 0] if modality == "flow" else picture))
                if modality == "flow":
                    assert number_in(255 - picture[..., 1]) == numbers["flow"][-1]
    source.close()
    return numbers


def prepare_both(root, video, short_side):
    for modality in ("rgb", "flow"):
        prepare(make_plan(root, segments_of(video), modality, Settings(short_side, 20, MARGIN)), root, workers=1)


@pytest.mark.parametrize("name", ["59.94", "50", "47.95", "29.97", "90"])
def test_originals_and_their_store(name, rates, tmp_path):
    rate, video = rates[name], "P01_101" if name == "50" else "P01_01"
    numbers = [n for start, stop in PARTS for n in range(shown(start, rate), shown(stop, rate))]
    tail = shown(LATE + 90, rate)
    numbers += range(tail, tail + 40)  # the mean rate is tiny: keep the end, which goes by it, far away
    stride = index_stride(video, "flow")
    write_sparse(tmp_path / f"videos/P01/{video}.MP4", numbers, rate)
    write_sparse(tmp_path / f"flow/P01/{video}.mp4", [n for n in numbers if n % stride == 0], rate, flow=True)
    times = instants(rate, np.random.default_rng(1))
    wanted = {
        "rgb": [shown(time, rate) for time in times],
        "flow": [shown(time, rate) // stride * stride for time in times],
    }
    root = DataRoot(tmp_path)
    for decoder in INSTALLED:
        assert read_all(root, video, times, prepared=False, decoder=decoder) == wanted, decoder
    prepare_both(root, video, short_side=48)
    shutil.rmtree(tmp_path / "videos")
    shutil.rmtree(tmp_path / "flow")
    assert read_all(root, video, times, prepared=True) == wanted


@pytest.mark.parametrize(("name", "base", "packed"), [
    ("59.94", 1, False), ("59.94", 0, True), ("50", 1, True), ("50", 0, False), ("47.95", 1, False),
    ("29.97", 0, False), ("90", 1, False),
])  # fmt: skip
def test_extracted_frames_and_their_store(name, base, packed, rates, tmp_path):
    """Index n holds what the video shows at n/60 (n/50) s: never more than one index behind the instant asked for."""
    rate, video = rates[name], "P01_101" if name == "50" else "P01_01"
    index, stride = Fraction(index_rate(video)), index_stride(video, "flow")
    indices = [0, *(n for start, stop in PARTS for n in range(shown(start, index), shown(stop, index)))]
    rgb = {n: shown(n / index, rate) for n in indices}
    flow = {n // stride: rgb[n] for n in indices if n % stride == 0}
    folders = [
        write_jpegs(tmp_path / f"rgb_frames/P01/{video}", rgb, base),
        write_jpegs(tmp_path / f"flow_frames/P01/{video}", flow, base, flow=True),
    ]
    for folder in folders if packed else []:
        with tarfile.open(folder.with_suffix(".tar"), "w") as archive:
            archive.add(folder, arcname=".")
        shutil.rmtree(folder)
    times = instants(index, np.random.default_rng(2))
    wanted = {
        "rgb": [rgb[shown(time, index)] for time in times],
        "flow": [flow[shown(time, index / stride)] for time in times],
    }
    root = DataRoot(tmp_path)
    assert read_all(root, video, times, prepared=False) == wanted
    for time, number in zip(times, wanted["rgb"], strict=True):
        assert 0 <= time + 0.0005 - number / rate < 1 / index + 1 / rate
    prepare_both(root, video, short_side=48)
    shutil.rmtree(tmp_path / "rgb_frames")
    shutil.rmtree(tmp_path / "flow_frames")
    assert read_all(root, video, times, prepared=True) == wanted


@pytest.fixture(scope="module")
def hour(rates, tmp_path_factory):
    """A video at 59.94 as it comes from a camera: every frame is there, so that a mean rate leads late into it."""
    rate = rates["59.94"]
    parts = [(shown(start, rate) // GROUP, shown(stop, rate) // GROUP) for start, stop in PARTS]
    return write_whole(tmp_path_factory.mktemp("hour") / "P01_01.MP4", parts, rate)


@pytest.mark.parametrize("decoder", INSTALLED)
def test_late_in_a_whole_hour(decoder, hour, rates):
    times = instants(rates["59.94"], np.random.default_rng(3))
    reader = open_reader(hour, decoder)
    numbers = [number_in(picture) for picture in reader.frames_at(times).numpy()]
    assert numbers == [shown(time, rates["59.94"]) for time in times]
    assert LATE < reader.duration < LATE + 4
    reader.close()


def test_a_raw_index_would_be_seconds_off(rates):
    """What reading by number would do: the reason why nothing here does."""
    rate = rates["59.94"]
    assert float(LATE * 60 / rate - LATE) > 3.4
