"""Damaged videos: every picture that is read is the one of its time, or the file is refused by its name.

Ten files in six containers (mp4, mov, mkv, avi, ts, webm): eight whose pictures carry their number, two of real scenes
(numbered ones in their place where these are not at hand). Each trial damages one of them as `video_faults` knows, and
reads it through `epicsub.read_frames` in a process of its own, with a bound on memory and ten seconds of a core for a
call (a minute by the clock, for other work goes on beside it). Every trial goes one way more: a deep check, flow, the
prepared store, or another decoder.

A picture is right if it is the whole file's at that time, give or take half a frame, or the one that a plain decoding
of the damaged file from its beginning shows then: time stamps that were changed are those of the file now. Where bytes
were damaged, that decoding counts only if its number can be read and comes up once: a damaged picture is often replaced
by the one before it. `undetectable` are damaged pictures at which FFmpeg, decoding all before them, reports nothing.
"""

import os
import random
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.logging
import cv2
import numpy as np
import torch

import epicsub
from benchmarks.campaigns import video_faults as faults
from benchmarks.campaigns.apart import Send, in_process
from benchmarks.campaigns.coded import number_in, write_coded
from epicsub.data.annotations import Segment
from epicsub.data.check import check_data
from epicsub.data.decode import last_time
from epicsub.data.decode.reader import why_not
from epicsub.data.flow import FlowSettings
from epicsub.data.flow.compute import compute_flow
from epicsub.data.prepared.plan import Settings, make_plan
from epicsub.data.prepared.video import PreparedVideo
from epicsub.data.prepared.write import prepare as prepare_store
from epicsub.data.root import DataRoot
from epicsub.errors import EpicsubError

TOTAL = 1000
MUST_BE_ZERO = ("silent", "hang", "crash", "memory", "nameless")
WORST = ("crash", "hang", "memory", "silent", "nameless", "undetectable", "right", "refused")
SEQUENTIAL_SECONDS = 30.0
VIDEO = "P01_01"
COUNT = 240
THUMB, ALIKE = (32, 24), 4.0  # pixels; gray levels between two codings of one picture
KINDS = ("flip", "overwrite", "cut", "boxes", "times", "remux", "streams", "times", "flip", "lengthen")
WAYS = ("check", "flow", "store", "torchcodec", "decord")
SEGMENTS = ((0.5, 1.75), (2.0, 3.0))
SHARED = Path(os.environ.get("EPICSUB_SHARED", Path(__file__).parents[3] / "shared")) / "data"
REAL = {"real.mkv": "videos/flipping_a_pancake.mkv", "real.mp4": "handwash/001_08_G1.mp4"}
WEB = {"codec": "libvpx-vp9", "codec_options": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"}}
DRAWN: dict[str, dict[str, Any]] = {
    "sound.mp4": {"rate": 30, "sound": 10.0},
    "long_groups.mov": {"rate": Fraction(60000, 1001), "gop": 120},
    "h264.mkv": {"rate": 50},
    "mpeg4.avi": {"rate": 25, "codec": "mpeg4", "b_frames": 0, "codec_options": {"qscale": "2"}, "gop": 12},
    "broadcast.ts": {"rate": Fraction(30000, 1001), "container": "mpegts", "sound": 6.0},
    "web.webm": {"rate": 30, "gop": 60, "b_frames": 0, **WEB},
    "fragments.mp4": {
        "rate": 30, "container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    },
    "hevc.mp4": {"rate": 50, "codec": "libx265"},
}  # fmt: skip
STAND_INS = {"real.mkv": {"rate": 30, "b_frames": 0}, "real.mp4": {"rate": 30, "gop": 250, "b_frames": 3}}
FILES = (*DRAWN, *REAL)


class Shown(NamedTuple):
    """A picture as a process passes it on."""

    seconds: float
    number: int  # -1: none can be read
    thumb: np.ndarray


class Truth(NamedTuple):
    """What a whole file shows; `thumbs` (N, 24, 32) only of real scenes, whose pictures carry no number."""

    rate: float
    count: int
    thumbs: np.ndarray | None


class Decoded(NamedTuple):
    """A file decoded from its beginning: pictures by time, FFmpeg's complaints up to each, and where it starts."""

    pictures: list[Shown]
    complaints: list[int]
    starts: tuple[float, ...]


def prepare(folder: Path) -> None:
    """Draw the files, and note what each shows."""
    inputs = folder / "inputs"
    inputs.mkdir(parents=True)
    for name, options in DRAWN.items():
        write_coded(inputs / name, range(COUNT), **options)
    for name, place in REAL.items():
        if (SHARED / place).is_file():
            (inputs / name).write_bytes((SHARED / place).read_bytes())
            pictures = [shown.thumb for shown in _decode(inputs / name, real=True).pictures]
            np.save(inputs / f"{name}.npy", np.stack(pictures))
        else:
            write_coded(inputs / name, range(COUNT), **STAND_INS[name])


def trial(folder: Path, rng: random.Random, index: int) -> dict[str, str]:
    """Damage a file and read it."""
    torch.set_num_threads(1)
    name, kind = FILES[index % len(FILES)], KINDS[index // len(FILES) % len(KINDS)]
    truth, source = _truth(folder / "inputs" / name), folder / "inputs" / name
    path = (
        folder
        / "scratch"
        / "videos"
        / "P01"
        / f"{VIDEO}{'.MP4' if source.suffix in ('.ts', '.webm') else source.suffix}"
    )
    path.parent.mkdir(parents=True)
    done = _damage(kind, source, path, rng)
    end = truth.count / truth.rate
    times = [0.0, *(round(rng.uniform(0, end), 3) for _ in range(7)), round(end - 0.5 / truth.rate, 3)]
    calls = [sorted(rng.sample(times, 4)), *([time] for time in rng.sample(times, 4)), times]
    way = WAYS[index // 3 % len(WAYS)]
    verdicts = _judge(_reads(folder / "scratch", calls, "auto", truth), path, kind, truth)
    if way in ("torchcodec", "decord"):
        if why_not(way) is None:
            verdicts += _judge(_reads(folder / "scratch", calls, way, truth), path, kind, truth, way)
    else:
        work = {"check": _check, "flow": _flow, "store": _store}[way]
        verdicts += _judge(in_process(lambda send: work(folder / "scratch", path, truth, send)), path, kind, truth, way)
    worst = min(verdicts, key=lambda verdict: WORST.index(verdict[0]))
    return {"outcome": worst[0], "detail": f"{name}, {kind}: {done[:400]}. {worst[1][-1200:]}"}


def figures(counts: dict[str, int]) -> dict[str, int]:
    """Figures of the record."""
    return {
        "video_total": sum(counts.values()),
        "video_silent": counts["silent"],
        "video_hangs": counts["hang"],
        "video_crashes": counts["crash"] + counts["error"],
        "video_memory": counts["memory"],
        "video_nameless": counts["nameless"],
        "video_right": counts["right"],
        "video_refused": counts["refused"],
        "video_undetectable": counts["undetectable"],
    }


def _damage(kind: str, source: Path, target: Path, rng: random.Random) -> str:
    if kind not in faults.MUXED:
        made = whole = source.read_bytes()
        while made == whole:  # zeros written over zeros
            made, done = (faults.BYTES | faults.WHOLE)[kind](whole, rng)
        target.write_bytes(made)
        return done
    with av.logging.Capture():
        try:
            return faults.MUXED[kind](source, target, rng)
        except (av.error.FFmpegError, ValueError) as error:  # the muxer wrote what it could
            if not target.exists():
                target.write_bytes(source.read_bytes())
            return f"remuxed until {type(error).__name__}: {error}"


@cache
def _truth(path: Path) -> Truth:
    thumbs = np.load(f"{path}.npy") if Path(f"{path}.npy").exists() else None
    if thumbs is not None:
        return Truth(30.0, len(thumbs), thumbs)
    return Truth(float(Fraction((DRAWN | STAND_INS)[path.name]["rate"])), COUNT, None)


def _reads(root: Path, calls: list[list[float]], decoder: str, truth: Truth) -> list[dict[str, Any]]:
    def work(send: Send) -> None:
        for call in calls:
            try:
                frames = epicsub.read_frames(root, VIDEO, call, decoder=decoder)
            except EpicsubError as error:
                send({"refused": str(error), "call": call})
            else:
                send(_pictures(call, frames, truth))

    return in_process(work)


def _pictures(times: list[float], frames: np.ndarray, truth: Truth) -> dict[str, Any]:
    shown = [_seen(seconds, frame, truth.thumbs is not None) for seconds, frame in zip(times, frames, strict=True)]
    return {"shown": [(one.seconds, one.number, one.thumb.tobytes().hex()) for one in shown]}


def _seen(seconds: float, frame: np.ndarray, real: bool) -> Shown:
    gray = frame if frame.ndim == 2 else frame.mean(-1).astype(np.uint8)
    return Shown(seconds, -1 if real else number_in(gray), cv2.resize(gray, THUMB, interpolation=cv2.INTER_AREA))


def _check(root: Path, _: Path, __: Truth, send: Send) -> None:
    segments = _segments()
    found = check_data(DataRoot(root), {"list": segments}, ["rgb"], 0.5, deep=True, workers=1)
    problems = [f"{file.path}: {problem}" for file in found.files for problem in file.problems]
    send({"refused": "; ".join(problems)} if problems else {})


def _flow(root: Path, path: Path, __: Truth, send: Send) -> None:
    try:
        compute_flow(path, root / "flow" / "P01" / f"{VIDEO}.mp4", VIDEO, FlowSettings(short_side=32))
        send({})
    except EpicsubError as error:
        send({"refused": str(error)})


def _store(folder: Path, _: Path, truth: Truth, send: Send) -> None:
    """The segments through the prepared store."""
    segments, root = _segments(), DataRoot(folder)
    try:
        prepare_store(make_plan(root, segments, "rgb", Settings(short_side=240, crf=18)), root, workers=1)
        store = PreparedVideo(root.prepared(VIDEO, "rgb"))
        for segment in segments:
            times = np.linspace(segment.start, min(segment.stop, last_time(store.duration, store.fps)), 5)
            if times[-1] > times[0]:  # else cut off before the segment, which gets its last picture
                send(_pictures(times.tolist(), store.frames_at(times).numpy(), truth))
    except EpicsubError as error:
        send({"refused": str(error)})


def _segments() -> list[Segment]:
    return [Segment(f"{VIDEO}_{n}", "P01", VIDEO, start, stop, 1, 2, 0, 0) for n, (start, stop) in enumerate(SEGMENTS)]


def _judge(
    answers: list[dict[str, Any]], path: Path, kind: str, truth: Truth, way: str = "auto"
) -> list[tuple[str, str]]:
    """Outcome and reason of each answer."""
    verdicts, decoded = [], None
    for answer in answers:
        if "ended" in answer:
            verdicts.append((answer["ended"], f"{way}: {answer['why']}"))
        if "refused" in answer:
            named = VIDEO in answer["refused"]
            verdicts.append(("refused" if named else "nameless", f"{way}: {answer['refused']}"))
        for seconds, number, thumb in answer.get("shown", ()):
            shown = Shown(seconds, number, np.frombuffer(bytes.fromhex(thumb), np.uint8).reshape(THUMB[::-1]))
            if _as_before(shown, truth):
                verdicts.append(("right", f"{way}"))
                continue
            decoded = decoded or _decode_apart(path, real=truth.thumbs is not None)
            verdicts.append(_as_decoded(shown, decoded, kind, truth, way))
    return verdicts or [("right", way)]


def _as_before(shown: Shown, truth: Truth) -> bool:
    """Whether the whole file shows this picture then, or half a frame earlier or later."""
    place = shown.seconds * truth.rate
    if truth.thumbs is None:
        return shown.number >= 0 and shown.number - 0.5 <= place + 0.03 and place - 0.03 <= shown.number + 1.5
    near = {int(np.clip(np.floor(place + off), 0, truth.count - 1)) for off in (-0.5, 0.03, 0.5)}
    return any(_apart(shown.thumb, truth.thumbs[number]) <= ALIKE for number in near)


def _as_decoded(shown: Shown, decoded: Decoded, kind: str, truth: Truth, way: str) -> tuple[str, str]:
    """Whether the damaged file, decoded from its beginning, shows this picture then."""
    pictures = sorted(enumerate(decoded.pictures), key=lambda one: one[1].seconds)
    half, found = 0.5 / truth.rate, None
    for start in decoded.starts:
        for (place, one), (_, following) in zip(pictures, [*pictures[1:], (0, None)], strict=True):
            until = following.seconds if following else one.seconds + 2 / truth.rate
            then = one.seconds - half - 0.001 <= shown.seconds + start <= until + half + 0.001
            if then and _apart(one.thumb, shown.thumb) <= ALIKE:
                found = place
    said = f"{way}: at {shown.seconds:.3f} s the picture {shown.number}"
    if found is None:
        return "silent", f"{said}; decoded from the beginning it has {_excerpt(decoded, shown.seconds)}"
    if kind not in faults.BYTES:
        return "right", way
    numbers = [one.number for one in decoded.pictures]
    if truth.thumbs is None and shown.number >= 0 and numbers.count(shown.number) == 1:
        return "right", way
    if truth.thumbs is not None and any(_apart(shown.thumb, other) <= ALIKE for other in truth.thumbs):
        return "right", way
    if decoded.complaints[min(found + 5, len(decoded.complaints) - 1)] == 0:
        return "undetectable", said
    return "silent", f"{said}, which is damaged: FFmpeg complains {decoded.complaints[-1]} times"


def _excerpt(decoded: Decoded, seconds: float) -> str:
    near = sorted(decoded.pictures, key=lambda one: abs(one.seconds - decoded.starts[0] - seconds))[:4]
    listed = ", ".join(f"{one.number} at {one.seconds:.3f}" for one in near) or "nothing"
    return f"{listed} (starts {', '.join(f'{start:.3f}' for start in decoded.starts)})"


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


def _decode(path: Path, real: bool) -> Decoded:
    """Every picture of the largest video stream, in one go; stops at the first error."""
    pictures: list[Shown] = []
    complaints: list[int] = []
    starts: set[float] = set()
    av.logging.set_level(av.logging.ERROR)
    with av.logging.Capture(local=False) as logs:
        try:
            with av.open(str(path), metadata_errors="replace") as container:
                stream = max(container.streams.video, key=lambda one: one.width * one.height)
                tick = float(stream.time_base)
                starts.add((stream.start_time or 0) * tick)
                stream.thread_count = 1
                for packet in container.demux(stream):
                    try:
                        frames = packet.decode()
                    except av.error.FFmpegError:
                        logs.append((0, "", "refused"))
                        continue
                    for frame in frames:
                        stamp = frame.pts if frame.pts is not None else frame.dts
                        if stamp is not None and len(pictures) < 4 * COUNT:
                            pictures.append(_seen(stamp * tick, frame.to_ndarray(format="rgb24"), real))
                            complaints.append(len(logs))
        except (av.error.FFmpegError, ValueError, MemoryError):
            pass
    if pictures:
        starts |= {pictures[0].seconds, min(one.seconds for one in pictures)}
    return Decoded(pictures, complaints, tuple(sorted(starts)))


def _decode_apart(path: Path, real: bool) -> Decoded:
    """The same in a process of its own, which damage may bring down."""

    def work(send: Send) -> None:
        decoded = _decode(path, real)
        shown = [(one.seconds, one.number, one.thumb.tobytes().hex()) for one in decoded.pictures]
        send({"shown": shown, "complaints": decoded.complaints, "starts": decoded.starts})

    for answer in in_process(work, SEQUENTIAL_SECONDS):
        if "starts" in answer:
            thumbs = [np.frombuffer(bytes.fromhex(one[2]), np.uint8).reshape(THUMB[::-1]) for one in answer["shown"]]
            shown = [Shown(one[0], one[1], thumb) for one, thumb in zip(answer["shown"], thumbs, strict=True)]
            return Decoded(shown, answer["complaints"], tuple(answer["starts"]))
    return Decoded([], [], (0.0,))
