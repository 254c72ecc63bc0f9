"""Clips a second of 16 frames over 2 s, ready as a normalised tensor: epicsub, its peers, and the limit of decoding.

    python benchmarks/loading.py --json benchmarks/results/loading.json

One video of 184 seconds, 640x360 at 59.94 frames per second, drawn from a real kitchen clip (--clip). Every reader runs
alone in its own processes, first one on one core, then one on each of two; all get the same starts. The brief's way is
opencv_seek. `*_share_of_limit` is against libavcodec decoding every picture from the keyframe before a clip's first
frame to its last one, converting none; it can exceed 1, because epicsub leaves out pictures that nobody needs.
`*_share_of_needed` is against decoding only those that it needs.
"""

import multiprocessing
import os
import queue
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from loading_readers import PEERS, READERS, SECONDS, VIDEO
from loading_video import LASTS, make_video
from machine import benchmark_parser, write_figures

from epicsub.data.annotations import Segment
from epicsub.data.loader import set_up_worker
from epicsub.data.prepared.plan import Settings, make_plan
from epicsub.data.prepared.write import prepare
from epicsub.data.root import DataRoot
from epicsub.progress import cores

PANCAKE = Path("../shared/data/videos/flipping_a_pancake.mkv")
CORES = (1, 2)


def main() -> None:
    """Make the video and its store, measure every reader, print the table."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--clip", type=Path, default=PANCAKE, help="A real clip to draw the video from.")
    parser.add_argument("--folder", type=Path, default=Path("outputs/loading"), help="Where video and store are kept.")
    parser.add_argument("--seconds", type=float, default=6.0, help="Measured for each reader and number of cores.")
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    arguments = parser.parse_args()
    if problem := refusal(arguments.folder, arguments.clip):
        parser.error(problem)
    duration, bytes_a_second = make_data(arguments.folder, arguments.clip)
    rates: dict[str, dict[int, float]] = {name: {} for name in arguments.readers}
    for count in CORES:
        for name in arguments.readers:
            rates[name][count] = clips_a_second(arguments.folder, name, count, arguments.seconds, duration)
            print(f"{name:18s} {count} core{'s' * (count > 1)}: {rates[name][count]:7.2f} clips/s", flush=True)
    figures = {f"{name}_{count}": round(rate, 2) for name in rates for count, rate in rates[name].items()}
    if len(rates) == len(READERS):
        figures |= {name: round(value, 3) for name, value in ratios(rates).items()}
    figures |= {name: round(value / 1000, 1) for name, value in bytes_a_second.items()}
    for name, value in figures.items():
        print(f"{name:30s} {value}")
    readers = {name: version_of(name) for name in ("decord", "pytorchvideo", "torchcodec")}
    write_figures(arguments.json, figures, readers=readers)


def refusal(folder: Path, clip: Path) -> str | None:
    """What would make the figures others than they say, in one sentence."""
    path = original(folder)
    if cores() < max(CORES):
        return f"one core and two are measured, and this process may use {cores()}: give it two"
    if not path.is_file():
        there = clip.is_file()
        return None if there else f"{clip}: no such clip to draw the video from: name a real one with --clip"
    with av.open(str(path)) as container:
        seconds = (container.duration or 0) / av.time_base
    kept = f"{path}: an earlier version's, of {seconds:.1f} s where {LASTS:.1f} are measured: delete {folder}"
    return None if abs(seconds - LASTS) < 1 else kept


def original(folder: Path) -> Path:
    """Where the video is kept."""
    return folder / "videos" / "P01" / f"{VIDEO}.MP4"


def ratios(rates: dict[str, dict[int, float]]) -> dict[str, float]:
    """The figures that the targets are set for: the worse of one core and two."""
    found: dict[str, list[float]] = {}
    for count in CORES:
        at = {name: rate[count] for name, rate in rates.items()}
        best = max(at[name] for name in PEERS)
        for ours in ("original", "prepared"):
            speed = at[f"epicsub_{ours}"]
            for name, against in (
                ("over_best_peer", best), ("over_brief", at["opencv_seek"]), ("share_of_limit", at[f"limit_{ours}"]),
                ("share_of_needed", at[f"needed_{ours}"]),
            ):  # fmt: skip
                found.setdefault(f"{ours}_{name}", []).append(speed / against)
    return {name: min(values) for name, values in found.items()}


def make_data(folder: Path, clip: Path) -> tuple[float, dict[str, float]]:
    """The video and its prepared store; how long it lasts, and bytes per second of both."""
    path = make_video(original(folder), clip)
    root = DataRoot(folder)
    with_all = [Segment("P01_01_0", "P01", VIDEO, 0.0, 170.0, 0, 0, None, None)]
    plan = make_plan(root, with_all, "rgb", Settings())
    if plan.jobs:
        prepare(plan, root, workers=1)
    store = root.prepared(VIDEO, "rgb")
    stored = store.stat().st_size + store.with_suffix(".h264").stat().st_size
    return 170.0, {"original_kB_a_second": path.stat().st_size / LASTS, "prepared_kB_a_second": stored / 170.5}


def clips_a_second(folder: Path, name: str, count: int, seconds: float, duration: float) -> float:
    """Of as many processes as cores, each held on its own."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    children = [
        context.Process(target=measure, args=(folder, name, number, seconds, duration, barrier, results))
        for number in range(count)
    ]
    for child in children:
        child.start()
    rates: list[float] = []
    while len(rates) < count:
        if any(child.exitcode for child in children):
            for child in children:
                child.terminate()  # one waits at the barrier
            raise SystemExit(f"{name} does not run here, for the reason above: nothing was written")
        with suppress(queue.Empty):
            rates.append(results.get(timeout=0.5))
    for child in children:
        child.join()
    return sum(rates)


def measure(folder: Path, name: str, number: int, seconds: float, duration: float, barrier: Any, results: Any) -> None:
    """Read clips for `seconds`, all from new places."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[number]})
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if name.startswith("epicsub"):
        set_up_worker(number)  # as epicsub's loader does
    read = READERS[name](folder)
    starts = np.random.default_rng(number).uniform(0, duration - SECONDS - 1, 10_000)
    read(float(starts[-1]))
    barrier.wait()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        read(float(starts[done]))
        done += 1
    results.put(done / (time.perf_counter() - began))


def version_of(name: str) -> str | None:
    """Of a package that may be absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
