"""Memory and time of the index of all 89,977 segments, and memory over 5,000 clips: decoders, the store, the loader.

    python benchmarks/reading_memory.py --kitchens kitchens --json benchmarks/results/reading_memory.json

Clips come from many small videos (`epicsub data synth`, then `data prepare`), 16 files open at once, so that files are
opened and closed all the time. Growth is of resident memory, from the median over clips 1,000 to 2,000 to the median
over the last 1,000: which 16 files are open changes it from clip to clip. A decoder that does not load is left out. The
loader is training's: two workers, batches of clips of the videos, cut to their size and mirrored; its memory is what
the three processes hold that no file backs, what workers got from the first one counted in each. It runs for 10,000
clips: `loader_first_mb` is its growth over the first half, while its processes still meet new sizes, `loader_growth_mb`
that over the second. The index is read three times: the best of three for the time, the peak of all for the memory.
Figures that --rows does not name stay in the JSON file as they are.
"""

import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from machine import benchmark_parser, write_figures

from epicsub.data.decode.reader import why_not

SIZES = {"train": 67_217, "validation": 9_668, "test": 13_092}
VIDEOS, CLIPS, SPAN, LOOK_EVERY = 700, 5_000, 1_000, 20
BATCH, WORKERS = 8, 2
READ = ("pyav", "torchcodec", "decord", "prepared")
ROWS = ("index", *READ, "loader")
HEAD = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)


def main() -> None:
    """Measure each in a process of its own."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--kitchens", type=Path, default=Path("kitchens"))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    arguments = parser.parse_args()
    kept = arguments.json is not None and arguments.json.is_file()
    figures = json.loads(arguments.json.read_text())["figures"] if kept else {}
    for row in arguments.rows:
        if row == "index":
            figures |= alone(index_figures)
        elif row == "loader":
            figures |= alone(loader_growth, arguments.kitchens)
        elif row != "prepared" and (reason := why_not(row)):
            print(f"{row}: left out, it does not load here ({reason})")
        else:
            figures |= alone(growth, arguments.kitchens, row)
    for name, value in figures.items():
        print(f"{name:32s} {value}")
    write_figures(arguments.json, figures)


def alone(work: Callable[..., dict[str, float]], *given: object) -> dict[str, float]:
    """The work's figures, from a fresh process, which may have processes of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def index_figures() -> dict[str, float]:
    """Read three tables of the official sizes, three times."""
    from epicsub.data.annotations import read_segments

    with tempfile.TemporaryDirectory() as folder:
        paths = [write_table(Path(folder) / f"{name}.csv", name, size) for name, size in SIZES.items()]
        before, times = peak(), []
        for _ in range(3):
            began = time.perf_counter()
            segments = [segment for path in paths for segment in read_segments(path)]
            times.append(time.perf_counter() - began)
    assert len(segments) == sum(SIZES.values())
    assert len({segment.video_id for segment in segments}) == VIDEOS
    return {"index_seconds": round(min(times), 2), "index_mb": round(peak() - before, 0)}


def write_table(path: Path, name: str, size: int) -> Path:
    """A table in the organisers' columns."""
    lines = [HEAD]
    for number in range(size):
        place = number % VIDEOS
        video = f"P{place % 37 + 1:02d}_{place // 37 + 1:02d}"
        start, stop = (f"00:{number % 3000 // 60:02d}:{number % 60:02d}.{part}" for part in ("10", "90"))
        lines.append(
            f"{video}_{name}{number},{video[:3]},{video},{start}1,{start},{stop},{number},{number + 48},"
            f"put down the knife,put-down,1,knife,4,\"['knife', 'board']\",\"[4, 12]\""
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def growth(kitchens: Path, decoder: str) -> dict[str, float]:
    """MB that resident memory grows by, and MB held at the end; see above."""
    from epicsub.data.annotations import read_segments
    from epicsub.data.loader import set_up_worker
    from epicsub.data.root import DataRoot
    from epicsub.data.sources import ClipSource

    set_up_worker(0)
    root = DataRoot(kitchens)
    segments = read_segments(root.annotations("EPIC_100_train.csv"))
    prepared = ("rgb",) if decoder == "prepared" else ()
    source = ClipSource(root, ("rgb",), "pyav" if prepared else decoder, prepared=prepared)
    rng, held = np.random.default_rng(0), []
    for clip in range(CLIPS):
        segment = segments[rng.integers(len(segments))]
        source.read(segment, np.sort(rng.uniform(segment.start, segment.stop, 16)))
        if clip % LOOK_EVERY == 0:
            held.append(resident())
    return grown(decoder, held, SPAN // LOOK_EVERY)


def loader_growth(kitchens: Path) -> dict[str, float]:
    """The same of training's loader and its workers, over twice as many clips."""
    from epicsub.data.annotations import read_segments
    from epicsub.data.batch import collate
    from epicsub.data.clips import TrainClips
    from epicsub.data.loader import make_loader
    from epicsub.data.root import DataRoot
    from epicsub.data.samplers import StepSampler
    from epicsub.data.sources import ClipSource
    from epicsub.data.transforms import TrainTransform

    root = DataRoot(kitchens)
    segments = read_segments(root.annotations("EPIC_100_train.csv"))
    clips = TrainClips(
        segments, [], ClipSource(root, ("rgb",)), frames=16, sampling="dense", stride=1 / 30,
        transform=TrainTransform(54, 48, "scale_jitter", scales=[1.0, 0.875], flip=0.5),
    )  # fmt: skip
    steps = StepSampler(len(segments), [], BATCH, 0, seed=0, first_step=0, last_step=2 * CLIPS // BATCH)
    held = []
    for batch in make_loader(clips, batch_sampler=steps, collate=collate, workers=WORKERS):
        assert len(batch.source.narration_ids) == BATCH
        workers = multiprocessing.active_children()
        assert len(workers) == WORKERS
        held.append(sum(written(process) for process in (os.getpid(), *(worker.pid for worker in workers))))
    assert len(held) * BATCH == 2 * CLIPS
    half, span = len(held) // 2, SPAN // BATCH
    first = grown("loader", held[: half + span], span)["loader_growth_mb"]
    return {"loader_first_mb": first} | grown("loader", held[half - span :], span)


def grown(name: str, held: list[float], span: int) -> dict[str, float]:
    """Figures of what was held in turn, `span` samples for `SPAN` clips."""
    first, last = np.median(held[span : 2 * span]), np.median(held[-span:])
    return {f"{name}_growth_mb": round(float(last - first), 1), f"{name}_mb": round(float(last))}


def written(process: int | None) -> float:
    """MB that a process holds now and that no file backs."""
    rows = [row.split() for row in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()]
    return sum(int(row[1]) for row in rows if row[0] == "Anonymous:") * 1024 / 1e6


def resident() -> float:
    """MB that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def peak() -> float:
    """Most MB that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
