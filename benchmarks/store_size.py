"""Gigabytes of the prepared store of all 89,977 segments, from bytes per second measured on real frames.

    python benchmarks/store_size.py --json benchmarks/results/store_size.json

Needs the video of benchmarks/loading.py (a real kitchen clip with a moving camera at 59.94 frames per second) and, for
flow, the piece that benchmarks/flow_speed.py computed of it. Validation and test are counted from their tables,
overlaps once, margins with them; the training table too where it is there, else every second of the videos that the
other two lack, which is more than it can take. Flow is counted by pictures, by each video's frame rate and stride.
"""

import shutil
import tempfile
from pathlib import Path

from machine import benchmark_parser, write_figures

from epicsub.data.annotations import Segment, VideoInfo, read_segments, read_video_info
from epicsub.data.decode.pyav import PyavReader
from epicsub.data.flow.compute import flow_stride
from epicsub.data.prepared.plan import OFFICIAL_LISTS, Settings, intervals_of, make_plan, measured_rate
from epicsub.data.root import DataRoot

REAL = Path("../shared/data")


def main() -> None:
    """Measure, count, print."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("outputs/loading"))
    parser.add_argument("--clip", type=Path, default=REAL / "videos/flipping_a_pancake.mkv", help="A real clip.")
    parser.add_argument("--annotations", type=Path, default=REAL / "epic-100-annotations")
    arguments = parser.parse_args()
    infos = read_video_info(arguments.annotations / "EPIC_100_video_info.csv")
    seconds = stored_seconds(arguments.annotations, infos)
    rgb = rate_of(arguments.folder / "videos/P01/P01_01.MP4", "rgb")
    flow_file = arguments.folder / "flow_dis_0.mp4"
    flow = rate_of(flow_file, "flow") / PyavReader(flow_file).fps
    pictures = sum(seconds[name] * infos[name].fps / flow_stride(name) for name in seconds)
    hours, whole = (sum(values) / 3600 for values in (seconds.values(), (info.duration for info in infos.values())))
    figures = {
        "clip_as_it_is_kB_a_second": rate_of(arguments.clip, "rgb") / 1e3,
        "rgb_kB_a_second": rgb / 1e3,
        "flow_kB_a_second": flow * pictures / sum(seconds.values()) / 1e3,
        "hours_at_most": hours,
        "hours_of_whole_videos": whole,
        "rgb_gb_at_most": hours * 3600 * rgb / 1e9,
        "flow_gb_at_most": pictures * flow / 1e9,
    }
    for name, value in figures.items():
        print(f"{name:30s} {value:.1f}")
    write_figures(arguments.json, {name: round(value, 1) for name, value in figures.items()})


def stored_seconds(annotations: Path, infos: dict[str, VideoInfo]) -> dict[str, float]:
    """Seconds of each video that the store holds, or at most holds."""
    lists = [annotations / name for name in OFFICIAL_LISTS if (annotations / name).is_file()]
    target = intervals_of((segment for path in lists for segment in read_segments(path)), Settings().margin)
    held = {name: sum(stop - start for start, stop in intervals) for name, intervals in target.items()}
    print(f"{len(held)} of {len(infos)} videos are counted from {', '.join(path.name for path in lists)}")
    return {name: min(held.get(name, info.duration), info.duration) for name, info in infos.items()}


def rate_of(video: Path, modality: str) -> float:
    """Bytes per second of the store that a video, or a flow file, makes."""
    reader = PyavReader(video, gray=modality == "flow")
    duration = reader.duration
    reader.close()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / ("videos/P01/P01_01" + video.suffix if modality == "rgb" else "flow/P01/P01_01.mp4")
        place.parent.mkdir(parents=True)
        shutil.copy(video, place)
        pieces = [
            Segment(f"P01_01_{number}", "P01", "P01_01", start, min(start + 2.0, duration), 0, 0, None, None)
            for number, start in enumerate(range(0, int(duration - 1), 3))
        ]
        return measured_rate(make_plan(DataRoot(folder), pieces, modality, Settings(margin=0.0)).jobs).rate


if __name__ == "__main__":
    main()
