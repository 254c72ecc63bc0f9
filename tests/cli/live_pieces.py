"""A model that tells two clips apart, and a server with it, as `epicsub live` has them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from time import sleep

import torch
import uvicorn

from epicsub.api.predict import ClipModel, load_model
from epicsub.data.annotations import Segment, read_segments
from epicsub.data.root import DataRoot
from epicsub.live.classify import LiveModel
from epicsub.live.server import Live, make_app
from epicsub.live.sources import VideoSource
from epicsub.live.uploads import Uploads
from epicsub.live.window import Window
from epicsub.training.checkpoint import load_checkpoint, save_checkpoint

LIST = "EPIC_100_validation.csv"
VERBS, NOUNS = (0, 5), (0, 7)


def two_segments(kitchens: Path) -> list[Segment]:
    """Two of other videos, long enough for a clip."""
    found: dict[str, Segment] = {}
    for segment in read_segments(kitchens / "annotations" / LIST):
        if segment.stop - segment.start > 0.8:
            found.setdefault(segment.video_id, segment)
    return list(found.values())[:2]


def video_of(kitchens: Path, segment: Segment) -> Path:
    return next((kitchens / "videos").rglob(f"{segment.video_id}.*"))


def live_clip(model: ClipModel, video: Path, start: float, stop: float) -> dict[str, torch.Tensor]:
    """The middle clip of a part of a video, through the path of `epicsub live`."""
    live = LiveModel("one", model)
    source = VideoSource(video)
    window = Window(1e9, source.flow_stride)
    for at, decode in source.frames():
        window.add(at, decode)
    source.close()
    return window.clip(live.cut, start, stop)


@torch.inference_mode()
def separating(run: Path, kitchens: Path, out: Path) -> Path:
    """A checkpoint whose heads answer one verb and noun for one segment, others for the other."""
    checkpoint = load_checkpoint(run / "last.pth")
    model = load_model(run, data=kitchens, device="cpu")
    features = []
    for segment in two_segments(kitchens):
        middle, half = (segment.start + segment.stop) / 2, LiveModel("one", model).cut.seconds / 2
        features.append(model(live_clip(model, video_of(kitchens, segment), middle - half, middle + half)).features)
    tensors = dict(checkpoint.model)
    for modality in features[0]:
        one, other = (feature[modality][0] for feature in features)
        away, centre = (one - other) / (one - other).square().sum(), (one + other) / 2
        for head, classes in (("verb", VERBS), ("noun", NOUNS)):
            name = f"streams.{modality}.{head}_head"
            weight, bias = torch.zeros_like(tensors[f"{name}.weight"]), torch.full_like(tensors[f"{name}.bias"], -8.0)
            for row, sign in zip(classes, (1, -1), strict=True):
                weight[row], bias[row] = sign * 12 * away, -sign * 12 * (away @ centre)
            tensors |= {f"{name}.weight": weight, f"{name}.bias": bias}
    save_checkpoint(out, replace(checkpoint, model=tensors))
    return out


@contextmanager
def serving(
    model: LiveModel, kitchens: Path, most_bytes: int = 50_000_000, token: str | None = None
) -> Iterator[tuple]:
    """The address of a running page, and what it works with."""
    segments = {segment.narration_id: segment for segment in read_segments(kitchens / "annotations" / LIST)}
    live = Live([model], Uploads(most_bytes), DataRoot(kitchens), segments)
    server = uvicorn.Server(
        uvicorn.Config(make_app(live, token), port=0, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        sleep(0.05)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", live
    finally:
        server.should_exit = True
        thread.join(20)
        live.uploads.close()
