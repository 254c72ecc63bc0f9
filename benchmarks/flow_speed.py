"""Flow frames per second of DIS and TV-L1 at a short side of 256, and what the 100 hours of the data set take.

    python benchmarks/flow_speed.py --json benchmarks/results/flow_speed.json

Pieces of the video of benchmarks/loading.py, which must have been made before; one process, then one on every core.
Hours and gigabytes are for every video of EPIC_100_video_info.csv (--info), from its durations and frame rates, whole.
"""

import time
from pathlib import Path
from typing import NamedTuple

import av
from machine import benchmark_parser, write_figures

from epicsub.data.annotations import read_video_info
from epicsub.data.flow import FlowSettings
from epicsub.data.flow.compute import compute_flow, flow_stride
from epicsub.progress import cores, in_processes

PIECES = {"dis": 30.0, "tvl1": 1.0}  # seconds


class Job(NamedTuple):
    """A piece to compute."""

    piece: Path
    target: Path
    method: str


def main() -> None:
    """Cut, compute, print."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("outputs/loading"))
    parser.add_argument(
        "--info", type=Path, default=Path("../shared/data/epic-100-annotations/EPIC_100_video_info.csv")
    )
    arguments = parser.parse_args()
    videos = read_video_info(arguments.info)
    pictures = sum(info.duration * info.fps / flow_stride(name) for name, info in videos.items())
    figures = {"pictures_of_the_data_set_in_millions": round(pictures / 1e6, 1)}
    video = arguments.folder / "videos/P01/P01_01.MP4"
    cut(video, arguments.folder / "piece_first.mp4", 0.5)
    for method, seconds in PIECES.items():
        piece = cut(video, arguments.folder / f"piece_{method}.mp4", seconds)
        for workers in sorted({1, cores()}):
            jobs = [Job(piece, arguments.folder / f"flow_{method}_{number}.mp4", method) for number in range(workers)]
            counts = list(in_processes(compute, jobs, workers))
            rate = sum(count for count, _ in counts) / max(spent for _, spent in counts)
            figures[f"{method}_{workers}"] = round(rate, 1)
            figures[f"{method}_{workers}_hours"] = round(pictures / rate / 3600, 1)
            print(f"{method}, {workers} processes: {rate:.1f} pictures/s", flush=True)
        size = jobs[0].target.stat().st_size / counts[0][0]
        figures[f"{method}_gb"] = round(pictures * size / 1e9, 0)
    for name, value in figures.items():
        print(f"{name:40s} {value}")
    write_figures(arguments.json, figures)


def cut(video: Path, piece: Path, seconds: float) -> Path:
    """The first seconds of a video."""
    with av.open(str(video)) as source, av.open(str(piece), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts is not None and packet.pts * stream.time_base < seconds:
                packet.stream = copy
                target.mux(packet)
    return piece


def compute(job: Job) -> tuple[int, float]:
    """Pictures, and the seconds that they took in this process, which has computed some before."""
    if job.method == "dis":
        compute_flow(job.piece.with_name("piece_first.mp4"), job.target, "P01_01", FlowSettings(method=job.method))
    began = time.perf_counter()
    count = compute_flow(job.piece, job.target, "P01_01", FlowSettings(method=job.method))
    return count, time.perf_counter() - began


if __name__ == "__main__":
    main()
