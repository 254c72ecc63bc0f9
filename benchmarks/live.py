"""How fast `epicsub live` answers, whether it does after ten minutes as at the start, and whether it names the verb.

    python benchmarks/live.py --json benchmarks/results/live.json                        # ten minutes and more, alone
    python benchmarks/live.py --run RUN --data ROOT --clips 10 --json benchmarks/results/live_clips.json

A server of `epicsub live` answers to frames that come over a socket as from the page, 30 per second of 256 x 340
pixels, for --minutes. Without --run the model is recipes/laptop_x3d.yaml with random weights, which are as fast as
trained ones.
    live_latency_ms_p95     from the arrival of a clip's last frame to the answer
    live_clips_per_second   answers
    live_memory_growth_mb   of the server, from the end of the first minute (or tenth) to the end
The first and the last tenth's latency are kept beside, and milliseconds of a clip in PyTorch, as a program of
torch.export and in onnxruntime (`epicsub export`).

--clips N plays N validation segments, in the order of the list, of other verbs or videos where there are, into the fake
camera of Chromium (chromium and chromium-driver must be there), one browser each, and reads the page:
    live_verb_percent       clips whose own verb the page names in most of its answers
    file_verb_percent       the same by `predict_clip` on the files
"""

import argparse
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
import torch
from machine import benchmark_parser, write_figures
from websockets.sync.client import connect

from epicsub import load_model
from epicsub.api.export import export
from epicsub.data.annotations import Segment, read_segments
from epicsub.data.root import DataRoot
from epicsub.recipe import load_recipe
from epicsub.training.build import model_of
from epicsub.training.checkpoint import Checkpoint, save_checkpoint

RATE, SIZE = 30, (340, 256)


def main() -> None:
    """Measure one or the other."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--run", help="a trained run; default: laptop_x3d with random weights")
    parser.add_argument("--data", type=Path, help="data root, for --clips and for names")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clips", type=int, default=0, help="play so many clips into a browser instead")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch in the server")
    options = parser.parse_args()
    with TemporaryDirectory() as place:
        run = options.run or str(random_laptop(Path(place)))
        if options.clips:
            figures, more = play_clips(run, options, Path(place))
        else:
            figures, more = soak(run, options, Path(place))
    print(json.dumps(figures, indent=1))
    write_figures(options.json, figures, **more)


def random_laptop(folder: Path) -> Path:
    """A checkpoint of laptop_x3d as it starts."""
    torch.manual_seed(0)
    recipe = load_recipe("laptop_x3d").recipe
    model = model_of(recipe, weights=False)
    content = Checkpoint(
        recipe=recipe.model_dump(mode="json"), step=0, steps=1, lists={}, scores={}, model=model.state_dict()
    )
    path = folder / "laptop_x3d.pth"
    save_checkpoint(path, content)
    return path


@contextmanager
def server(run: str, data: Path | None, threads: int) -> Iterator[tuple[str, int]]:
    """The address and the process of `epicsub live RUN`."""
    words = [sys.executable, "-m", "epicsub", "live", run, "--port", "0", "--device", "cpu"]
    words += ["--data", str(data)] if data else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        address = next(line for line in process.stderr or () if "http://" in line).split("http://")[1].split("/")[0]
        yield address, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def soak(run: str, options: argparse.Namespace, place: Path) -> tuple[dict[str, float], dict]:
    """Frames for some minutes; latency and memory as they go."""
    generator = np.random.default_rng(0)
    background = cv2.resize(generator.integers(0, 256, (16, 20, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    jpegs = [
        cv2.imencode(".jpg", np.roll(background, 3 * shift, axis=1), [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        for shift in range(60)
    ]
    seconds, answers, memory = 60 * options.minutes, [], []
    with server(run, options.data, options.threads) as (address, process):  # noqa: SIM117  # which names the address
        with connect(f"ws://{address}/api/camera", max_size=None) as socket:
            socket.recv()
            began, sent = time.monotonic(), 0
            while (now := time.monotonic() - began) < seconds:
                if now * RATE >= sent:
                    socket.send(struct.pack("<d", sent / RATE) + jpegs[sent % len(jpegs)])
                    sent += 1
                try:
                    message = json.loads(socket.recv(timeout=max(0.0, sent / RATE - (time.monotonic() - began))))
                except TimeoutError:
                    continue
                if "latency_ms" not in message:
                    raise SystemExit(f"the server says: {message}")
                answers.append((now, message["latency_ms"], message["ms"]))
                if not memory or now - memory[-1][0] >= 5:
                    memory.append((now, resident_mb(process)))
            memory.append((seconds, resident_mb(process)))
    settled = min(60.0, seconds / 10)
    at_start = next(size for at, size in memory if at >= settled)
    latencies = np.array([latency for _, latency, _ in answers])
    tenth = max(1, len(latencies) // 10)
    figures = {
        "live_latency_ms_p95": float(np.percentile(latencies, 95)),
        "live_latency_ms_p95_first_tenth": float(np.percentile(latencies[:tenth], 95)),
        "live_latency_ms_p95_last_tenth": float(np.percentile(latencies[-tenth:], 95)),
        "live_clips_per_second": len(answers) / seconds,
        "live_clip_ms": float(np.median([own for *_, own in answers])),
        "live_memory_growth_mb": memory[-1][1] - at_start,
    }
    torch.set_num_threads(options.threads)
    for form, suffix in (("torch", ".pt2"), ("onnx", ".onnx")):
        made = export(run, place / f"model{suffix}", form)
        figures |= {"export_pytorch_ms": made.torch_ms, f"export_{form}_ms": made.exported_ms}
    return figures, {"minutes": options.minutes, "threads": options.threads, "run": options.run or "laptop_x3d, random"}


def resident_mb(process: int) -> float:
    """Resident memory of a process, in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def play_clips(run: str, options: argparse.Namespace, place: Path) -> tuple[dict[str, float], dict]:
    """Clips through the fake camera, and the verbs that the page names."""
    from selenium import webdriver  # for this half alone

    root, model = DataRoot(options.data), load_model(run, data=options.data, device="cpu")
    chosen = choose(read_segments(options.data / "annotations" / "EPIC_100_validation.csv"), options.clips)
    names, rows = model.names["verb"], []
    with server(run, options.data, options.threads) as (address, _):
        for segment in chosen:
            video = root.require(segment.video_id, "rgb")
            on_file = model.predict_clip(video, segment.start, segment.stop, tta="1x1").top("verb", 1)[0].name
            camera = write_y4m(place / "camera.y4m", video, segment)
            words = [
                "headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "use-fake-ui-for-media-stream",
                "use-fake-device-for-media-stream", f"use-file-for-fake-video-capture={camera}",
            ]  # fmt: skip
            chrome = webdriver.ChromeOptions()
            for word in words:
                chrome.add_argument(f"--{word}")
            browser = webdriver.Chrome(options=chrome, service=webdriver.ChromeService(shutil.which("chromedriver")))
            try:
                said = read_page(browser, address)
            finally:
                browser.quit()
            truth = names[segment.verb_class or 0]
            rows.append({"id": segment.narration_id, "verb": truth, "live": said, "file": on_file})
            print(rows[-1], flush=True)
    share = {kind: 100 * sum(row[kind] == row["verb"] for row in rows) / len(rows) for kind in ("live", "file")}
    return {f"{kind}_verb_percent": value for kind, value in share.items()}, {"clips": rows, "run": run}


def choose(segments: list[Segment], count: int) -> list[Segment]:
    """Segments of a second or more, each the first of its verb or its video, then others."""
    long = [one for one in segments if one.stop - one.start >= 1.0]
    first: dict[tuple[object, str], Segment] = {}
    for one in long:
        first.setdefault((one.verb_class, one.video_id), one)
    return [*first.values(), *(one for one in long if one not in first.values())][:count]


def write_y4m(path: Path, video: Path, segment: Segment) -> Path:
    """A segment, which Chromium plays again and again."""
    with av.open(str(video)) as container, open(path, "wb") as out:
        stream = container.streams.video[0]
        rate = stream.average_rate
        head = f"W{stream.width} H{stream.height} F{rate.numerator}:{rate.denominator} Ip A1:1 C420jpeg"
        out.write(f"YUV4MPEG2 {head}\n".encode())
        for frame in container.decode(stream):
            if frame.time is not None and segment.start <= frame.time <= segment.stop:
                out.write(b"FRAME\n" + frame.to_ndarray(format="yuv420p").tobytes())
    return path


def read_page(browser: object, address: str, seconds: float = 12.0) -> str:
    """The verb that the page names most often."""
    browser.get(f"http://{address}/")  # type: ignore[attr-defined]
    time.sleep(1.5)
    browser.find_element("css selector", "#start").click()  # type: ignore[attr-defined]
    row = "#answers .run > div:nth-of-type(3) .row span"  # after the name of the best action and the actions
    script = f"const one = document.querySelector('{row}'); return one && one.textContent"
    said: Counter[str] = Counter()
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if found := browser.execute_script(script):  # type: ignore[attr-defined]
            said[found] += 1
        time.sleep(0.1)
    return said.most_common(1)[0][0] if said else ""


if __name__ == "__main__":
    main()
