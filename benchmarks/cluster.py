"""What a second process is worth: flow, prepared store, predictions and training on one core, and on two.

    python benchmarks/cluster.py --json benchmarks/results/cluster.json

`*_scaling_2` is the rate of two processes over twice the rate of one, each process on a core of its own: 1 is no loss.
Flow, prepare and predict are two shards side by side, which tell each other nothing. Training is one run of two
processes that share each batch; `train_communication_2` is the share of its step that the all-reduce of its gradients
takes when it is measured alone. What is measured is the work: starting Python and reading the network are left out.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.distributed
import torch.multiprocessing
from machine import benchmark_parser, write_figures

from epicsub.api.data import plan_preparation
from epicsub.api.predict import predict
from epicsub.api.shares import what_to_predict
from epicsub.api.train import train
from epicsub.data.flow.compute import flow_for_videos
from epicsub.data.root import DataRoot
from epicsub.inference.shares import predict_share
from epicsub.io.shards import Shard
from epicsub.progress import cores
from epicsub.synth import SynthSettings, make_kitchens
from epicsub.training.checkpoint import load_checkpoint

RECIPE = Path(__file__).parents[1] / "recipes/tiny/source_only.yaml"
FEW, MANY = 3, 15
"""Steps of two runs, whose difference leaves out the start."""
SETTINGS = ["data.workers=0", "train.log_every=100", "train.checkpoint_every=1000", "train.accelerator=cpu"]
REDUCTIONS = 20


def main() -> None:
    """Measure one process and two, and print the table."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("outputs/cluster"), help="Where data and runs are kept.")
    parser.add_argument(
        "--work", choices=WORKS, help="Do one share of a work and print its seconds; for the processes."
    )
    parser.add_argument("--shard", default="1/1", help="Which share.")
    arguments = parser.parse_args()
    if arguments.work:
        number, _, of = arguments.shard.partition("/")
        WORKS[arguments.work](arguments.folder, Shard(int(number), int(of)))
        return
    if cores() < 2:
        parser.error(f"two cores are measured, and this process may use {cores()}")
    make_data(arguments.folder)
    figures: dict[str, float] = {}
    for name in ("flow", "prepare", "predict"):
        units = count_units(arguments.folder, name)
        one, two = (units / seconds_of(arguments.folder, name, count) for count in (1, 2))
        figures |= {f"{name}_1": one, f"{name}_2": two, f"{name}_scaling_2": two / (2 * one)}
        print(f"{name}: {one:.2f} a second by one process, {two:.2f} by two", flush=True)
    one, two = (train_rate(arguments.folder, count) for count in (1, 2))
    figures |= {"train_1": one, "train_2": two, "train_scaling_2": two / (2 * one)}
    size = sum(x.numel() for x in load_checkpoint(arguments.folder / "run/last.pth").model.values())
    reduction = all_reduce_seconds(size)
    figures |= {
        "train_bytes_of_step": 4.0 * size,
        "train_all_reduce_seconds": reduction,
        "train_communication_2": reduction / (batch() / two),
    }
    for name, value in figures.items():
        print(f"{name:26s} {value:.4g}")
    write_figures(arguments.json, {name: float(f"{value:.4g}") for name, value in figures.items()})


def make_data(folder: Path) -> None:
    """Kitchens, their flow, and a run whose checkpoint predicts."""
    settings = SynthSettings(train=72, heldout=12, validation=48, test=12, width=192, height=144)
    make_kitchens(folder / "data", settings)
    root = DataRoot(folder / "data")
    flow_for_videos(root, root.videos_there().video_ids)
    if not (folder / "run/last.pth").is_file():
        train(RECIPE, overrides(1), data=folder / "data", out=folder / "run")


def overrides(steps: int) -> list[str]:
    """A run of so many steps of the first stage, and one of the second."""
    return [*SETTINGS, f"train.stages.0.steps={steps}", "train.stages.1.steps=1", "train.stages.0.source_batch=16"]


def batch() -> int:
    """Labelled clips of a step."""
    return 16


def count_units(folder: Path, name: str) -> int:
    """Videos, or segments where they are predicted."""
    root = DataRoot(folder / "data")
    return len(root.segments("EPIC_100_validation.csv")) if name == "predict" else len(root.videos_there().video_ids)


def copied(folder: Path, shard: Shard) -> Path:
    """A data root without what a work makes, its own for each number of processes."""
    root = folder / f"fresh-{shard.of}"
    root.mkdir(exist_ok=True)
    for name in ("annotations", "videos"):
        if not (root / name).exists():
            (root / name).symlink_to((folder / "data" / name).resolve())
    return root


def do_flow(folder: Path, shard: Shard) -> None:
    """Compute a share of the flow."""
    root = DataRoot(copied(folder, shard))
    ids = root.videos_there().video_ids
    timed(lambda: flow_for_videos(root, ids, workers=1, shard=shard))


def do_prepare(folder: Path, shard: Shard) -> None:
    """Prepare a share of the videos."""
    planned = plan_preparation(data=copied(folder, shard), modality="rgb", shard=shard)
    timed(lambda: list(planned.run(1)))


def do_predict(folder: Path, shard: Shard) -> None:
    """Predict a share of the validation list."""
    words = {"protocol": None, "data": folder / "data", "device": "cpu"}
    if shard.of == 1:
        timed(lambda: predict(folder / "run/last.pth", "validation", **words))
    else:
        timed(lambda: predict_share(*what_to_predict(folder / "run/last.pth", "validation", **words), shard))


def timed(work) -> None:
    """Wait for the word, work, and print the seconds."""
    torch.set_num_threads(1)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    work()
    print(time.perf_counter() - began, flush=True)


WORKS = {"flow": do_flow, "prepare": do_prepare, "predict": do_predict}


def seconds_of(folder: Path, name: str, processes: int) -> float:
    """Seconds until the last of the processes has done its share, each on a core of its own."""
    for made in (
        folder / f"fresh-{processes}/flow",
        folder / f"fresh-{processes}/prepared",
        folder / "run/predictions",
    ):
        shutil.rmtree(made, ignore_errors=True)
    own = sorted(os.sched_getaffinity(0))
    started = []
    for number in range(processes):
        words = [
            sys.executable,
            __file__,
            "--folder",
            str(folder),
            "--work",
            name,
            "--shard",
            f"{number + 1}/{processes}",
        ]
        started.append(
            subprocess.Popen(
                ["taskset", "-c", str(own[number]), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outputs = []
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        outputs.append(process.communicate()[0])
        assert process.returncode == 0
    return max(float(output.split()[-1]) for output in outputs)


def train_rate(folder: Path, processes: int) -> float:
    """Labelled clips a second of a run on so many processes."""
    seconds = []
    for steps in (FEW, MANY):
        out = folder / f"train-{processes}"
        shutil.rmtree(out, ignore_errors=True)
        words = [sys.executable, "-m", "epicsub", "train", str(RECIPE), *overrides(steps), f"train.devices={processes}"]
        words += ["--data", str(folder / "data"), "--out", str(out)]
        own = ",".join(map(str, sorted(os.sched_getaffinity(0))[:processes]))
        began = time.perf_counter()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(["taskset", "-c", own, *words], check=True, capture_output=True, env=environment)
        seconds.append(time.perf_counter() - began)
    return (MANY - FEW) * batch() / (seconds[1] - seconds[0])


def all_reduce_seconds(size: int) -> float:
    """Seconds of an all-reduce of so many float32 between two processes."""
    with torch.multiprocessing.get_context("spawn").Manager() as manager:
        found = manager.dict()
        meeting = f"/tmp/epicsub-cluster-{os.getpid()}"  # a file of gloo's, which it deletes
        torch.multiprocessing.spawn(_reduce, args=(meeting, size, found), nprocs=2)
        return max(found.values())


def _reduce(rank: int, meeting: str, size: int, found) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    numbers = torch.ones(size)
    torch.distributed.all_reduce(numbers)
    began = time.perf_counter()
    for _ in range(REDUCTIONS):
        torch.distributed.all_reduce(numbers)
    found[rank] = (time.perf_counter() - began) / REDUCTIONS
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
