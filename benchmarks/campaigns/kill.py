"""SIGKILL at a random moment, to a command and all of its workers; run again, the result is that of a run left alone.

A hundred moments each in ten kinds of work. A moment within a command is a share of the processor time that its main
process takes when left alone, so that a busy machine does not move it; within training it is counted from a line of
metrics.jsonl, or from the first sight of a temporary file. A command that ended before its moment, or had left the kind
of work that is meant, is started anew. Compared is every file that the command leaves, byte by byte, but for IGNORED.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.campaigns.fork_server import ForkServer
from epicsub.io import write_text
from epicsub.synth import SynthSettings, make_kitchens

EACH = 100
MUST_BE_ZERO = ("different", "failed", "hung", "missed")
IGNORED = {"tensorboard", "lock"}  # the clock and the process are in their names and in what they hold
TRIES, LIMIT_SECONDS, POLL_SECONDS = 20, 180, 0.001

KITCHENS = SynthSettings(
    train=6, heldout=1, validation=4, test=3, width=64, height=48, shortest=0.4, longest=0.7, segments_per_video=2
)
PROTOCOL = """\
name: small
training_list: EPIC_100_train.csv
validation: {list: EPIC_100_validation.csv, count: 4}
test: {list: EPIC_100_test_timestamps.csv, count: 3}
tail_verbs: EPIC_100_tail_verbs.csv
tail_nouns: EPIC_100_tail_nouns.csv
unseen_validation: EPIC_100_unseen_participant_ids_validation.csv
selection: validation labels
"""
STAGE, STEPS, EVALUATED = 3, 6, (3, 6)  # steps of each stage, of both, and those after which the recipe evaluates
RECIPE = """\
name: small
description: Two streams and MMIR in six steps; saved after 2, 3, 4 and 6
seed: 1
supervision: {pretraining: 0, labels: 3, data: 4}
data:
  root: null
  source: [EPIC_100_train.csv]
  target: [EPIC_100_validation.csv, EPIC_100_test_timestamps.csv]
  modalities: [rgb, flow]
  frames: 2
  sampling: uniform
  short_side: 32
  size: 32
  augment: {crop: scale_jitter, scales: [1.0, 0.875], flip: 0.0, color_jitter: 0.0}
  workers: 1
model: {name: frame_mean, backbone: test_efficientnet, dropout: 0.2, weights: null}
adaptation:
  {method: mmir, candidates: 2, replay_size: 20, replay_batch: 4, discriminator_hidden: 8, agents: [rgb_source]}
train:
  stages:
    - {steps: 3, learning_rate: 3e-3, source_batch: 2, target_batch: 0}
    - {steps: 3, learning_rate: 2e-3, schedule: cosine, source_batch: 2, target_batch: 2}
  optimizer: {name: adam, momentum: 0.9, weight_decay: 1e-7}
  clip_grad: 5.0
  precision: 32-true
  devices: 1
  accelerator: cpu
  log_every: 1
  checkpoint_every: 2
  evaluate_every: 3
  select: all_action_accuracy_at_1
evaluation: {protocol: protocol.yaml, views: 1x1, batch_size: 4}
"""
DATA = ("--data", "kitchens")


@dataclass(frozen=True)
class Command:
    """What is killed: its words, and the folders and files that it makes."""

    words: tuple[str, ...]
    makes: tuple[str, ...]
    workers: bool = False  # the main process waits for others: the clock says more than its processor time

    @property
    def name(self) -> str:
        return " ".join(self.words)


FLOW, PREPARE = ("data", "flow", *DATA, "--short-side", "32", "--workers"), ("data", "prepare", *DATA, "--workers")
TRAIN = Command(("train", "recipe.yaml", *DATA, "--out", "run"), ("run",))
PREDICT, SUBMIT = ("predict", "a", *DATA, "--split", "test", "--out"), ("submit", *DATA, "--name", "s")
MEMBERS = ("a/predictions", "b/predictions")
SEARCH = ("--weights", "search", "--cooccurrence", "0.5")
# Trials of one kind take its commands in turn. Processes of their own are started once in twenty: that takes seconds.
WORK: dict[str, tuple[Command, ...]] = {
    "train stage 1": (TRAIN,),
    "train stage 2": (TRAIN,),
    "evaluation": (TRAIN,),
    "checkpoint writing": (TRAIN,),
    "data prepare": (
        *[Command((*PREPARE, "1"), ("kitchens/prepared",))] * 19,
        Command((*PREPARE, "2"), ("kitchens/prepared",), workers=True),
    ),
    "data flow": (
        *[Command((*FLOW, "1"), ("kitchens/flow",))] * 19,
        Command((*FLOW, "2"), ("kitchens/flow",), workers=True),
    ),
    "data features": (Command(("data", "features", "a", *DATA, "--out", "f", "--per-file", "4"), ("f",)),),
    "predict": tuple(Command((*PREDICT, name), (name, MEMBERS[0])) for name in ("out.npz", "out.pt")),
    "submit": (Command((*SUBMIT, "a"), ("submissions", MEMBERS[0])),),
    "ensemble": (
        Command((*SUBMIT, "--ensemble", "a", "b", *SEARCH), ("submissions", *MEMBERS)),
        Command(("ensemble", "plan", "a", "b", *DATA, "--json", "plan.json"), ("plan.json", *MEMBERS)),
    ),
}
TOTAL = EACH * len(WORK)


def prepare(folder: Path) -> None:
    """Kitchens with flow, and two trained runs."""
    shutil.rmtree(folder / "alone", ignore_errors=True)
    inputs = folder / "inputs"
    make_kitchens(inputs / "kitchens", KITCHENS, workers=1)
    (inputs / "recipe.yaml").write_text(RECIPE)
    (inputs / "protocol.yaml").write_text(PROTOCOL)
    _watch_alone(WORK["data flow"][0], inputs)
    for name, seed in (("a", 1), ("b", 2)):
        _watch_alone(Command(("train", "recipe.yaml", f"seed={seed}", *DATA, "--out", name), ()), inputs)


def trial(folder: Path, rng: random.Random, index: int) -> dict[str, str]:
    kind, turn = list(WORK)[index % len(WORK)], index // len(WORK)
    command = WORK[kind][turn % len(WORK[kind])]
    alone = _alone(folder, command)
    for attempt in range(TRIES):
        work = _lay_out(folder, command, f"try{attempt}")
        watched = Watched(_server().start(list(command.words), work), work)
        moment = _await_moment(kind, command, alone["events"], rng, watched)
        if _server().kill(watched.process) == -signal.SIGKILL and _is_within(kind, watched):
            break
        shutil.rmtree(work)
    else:
        return {"outcome": "missed", "detail": f"{kind}: {command.name}: had gone on at each of {TRIES} moments"}
    did = f"{kind}: {command.name}: killed {moment}, {len(list(work.rglob('.*.*')))} temporary files"
    status = _server().wait(_server().start(list(command.words), work), LIMIT_SECONDS)
    if status is None:
        return {"outcome": "hung", "detail": f"{did}; run again, it did not end in {LIMIT_SECONDS} s"}
    if status:
        return {"outcome": "failed", "detail": f"{did}; run again: {(work / 'log').read_text()[-600:]}"}
    if differing := _differing(alone["files"], _files(work, command)):
        return {"outcome": "different", "detail": f"{did}; {differing}"}
    return {"outcome": "equal", "detail": did}


def figures(counts: dict[str, int]) -> dict[str, int]:
    return {"kill_equal": counts["equal"], "kill_total": sum(counts.values())}


class Watched:
    """What a running command has come to, as others see it."""

    def __init__(self, process: int, work: Path) -> None:
        self.process, self.run = process, work / "run"
        self._temporaries: list[str] = []
        self._seconds = 0.0

    def processor_seconds(self) -> float:
        """Of the main process; it stands still once that has ended."""
        with suppress(FileNotFoundError, ProcessLookupError):
            self._seconds = int(Path(f"/proc/{self.process}/schedstat").read_text().split()[0]) / 1e9
        return self._seconds

    def lines(self, kind: str) -> list[int]:
        """Steps of the whole lines of a kind in metrics.jsonl."""
        with suppress(FileNotFoundError):
            rows = (self.run / "metrics.jsonl").read_text().splitlines(keepends=True)
            return [row["step"] for row in map(json.loads, (r for r in rows if r[-1] == "\n")) if row["kind"] == kind]
        return []

    def temporaries(self) -> list[str]:
        """Temporary checkpoints that are there now."""
        with suppress(FileNotFoundError):
            return [path.name for path in self.run.iterdir() if path.name.startswith((".last.", ".best."))]
        return []

    def events(self) -> list[str]:
        """What has happened so far in training."""
        self._temporaries += [name for name in self.temporaries() if name not in self._temporaries]
        happened = [f"write {number}" for number in range(1, len(self._temporaries) + 1)]
        return [
            "start",
            *(f"{kind} {step}" for kind in ("train", "validation") for step in self.lines(kind)),
            *happened,
        ]


def _alone(folder: Path, command: Command) -> dict[str, dict]:
    """When a command that is left alone does what, and what it leaves; tried when it is first asked for."""
    path = folder / "alone" / f"{hashlib.sha256(command.name.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        work = _lay_out(folder, command, "alone")
        events = _watch_alone(command, work)
        write_text(path, json.dumps({"command": command.name, "events": events, "files": _files(work, command)}))
        shutil.rmtree(work)
    return json.loads(path.read_text())


def _watch_alone(command: Command, work: Path) -> dict[str, float]:
    """Run a command to its end: seconds, of its processor or of the clock, until each event was seen first.

    `gone` and a number is when that temporary file had gone.
    """
    seen: dict[str, float] = {}
    began, watched = time.monotonic(), Watched(_server().start(list(command.words), work), work)
    while _server().running():
        seen["end"] = time.monotonic() - began if command.workers else watched.processor_seconds()
        for event in watched.events():
            seen.setdefault(event, seen["end"])
            if event.startswith("write") and not watched.temporaries():
                seen.setdefault(event.replace("write", "gone"), seen["end"])
        time.sleep(POLL_SECONDS)
    if _server().wait(watched.process, LIMIT_SECONDS) != 0:
        raise RuntimeError(f"{command.name} fails: {(work / 'log').read_text()[-2000:]}")
    return seen


def _await_moment(kind: str, command: Command, alone: dict[str, float], rng: random.Random, watched: Watched) -> str:
    """Wait for a moment drawn within the kind of work, or for the command's end; the moment in words."""
    if kind == "checkpoint writing":
        number = rng.randint(1, sum(event.startswith("write") for event in alone))
        after, until = f"write {number}", f"gone {number}"
    elif kind == "evaluation":
        step = rng.choice(EVALUATED)
        after, until = f"train {step}", f"validation {step}"
    elif kind.startswith("train"):
        step = rng.randrange(STAGE) + STAGE * (kind == "train stage 2")
        after, until = f"train {step}" if step else "start", f"train {step + 1}"
    else:
        after, until = "start", "end"
    delay = rng.random() * max(0.0, alone.get(until, alone["end"]) - alone[after])
    clock = time.monotonic if command.workers else watched.processor_seconds
    began, limit = clock(), time.monotonic() + LIMIT_SECONDS
    while after != "start" and after not in watched.events() and _server().running() and time.monotonic() < limit:
        time.sleep(POLL_SECONDS)
        began = clock()
    while clock() - began < delay and _server().running() and time.monotonic() < limit:
        time.sleep(POLL_SECONDS)
    return f"{delay:.4f} s after {after}"


def _is_within(kind: str, watched: Watched) -> bool:
    """Whether a command that was killed was at the kind of work that is meant."""
    step = max(watched.lines("train"), default=0)
    if kind == "checkpoint writing":
        return bool(watched.temporaries())
    if kind == "evaluation":
        return step in EVALUATED and step not in watched.lines("validation")
    if kind.startswith("train"):
        return step < STAGE if kind == "train stage 1" else STAGE <= step < STEPS
    return True


def _lay_out(folder: Path, command: Command, name: str) -> Path:
    """A folder with all that a command needs and nothing that it makes; files are links, as epicsub changes none."""
    work = folder / "scratch" / name
    shutil.copytree(folder / "inputs", work, copy_function=os.link, ignore=shutil.ignore_patterns("log"))
    for made in command.makes:
        shutil.rmtree(work / made, ignore_errors=True)
    return work


def _files(work: Path, command: Command) -> dict[str, str]:
    """Digest of every file that a command made, but for IGNORED, temporary files, and those of temporary folders."""
    found = [path for made in command.makes for path in [work / made, *(work / made).rglob("*")] if path.is_file()]
    parts = {path: path.relative_to(work).parts for path in sorted(found)}
    return {
        "/".join(names): _digest(path)
        for path, names in parts.items()
        if not IGNORED & set(names) and not any(name.startswith(".") for name in names)
    }


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.parent.name == "predictions":  # kept for another time, with the seconds that they took
        with np.load(path) as arrays:
            header = json.loads(str(arrays["header"]))
            header.pop("seconds")
            content = json.dumps(header).encode() + b"".join(
                arrays[name].tobytes() for name in arrays if name != "header"
            )
    return hashlib.sha256(content).hexdigest()


def _differing(alone: dict[str, str], found: dict[str, str]) -> str:
    return ", ".join(
        f"{path} {'differs' if path in alone and path in found else 'is missing' if path in alone else 'is too many'}"
        for path in sorted(alone.keys() | found.keys())
        if alone.get(path) != found.get(path)
    )


@cache
def _server() -> ForkServer:
    return ForkServer()
