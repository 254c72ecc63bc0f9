"""What a model sees along a video: a clip every moment, neighbours of one action joined."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from epicsub.data.annotations import Segment
from epicsub.live.classify import Answer, LiveModel
from epicsub.live.sources import VideoSource
from epicsub.live.window import Window, needed_seconds

MOST_POINTS = 600
SHORTEST_STEP = 0.25
"""seconds between two clips, at least"""


def timeline(
    models: Sequence[LiveModel],
    path: Path,
    start: float = 0.0,
    stop: float | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Classify a clip at every step of a video.

    Args:
        models: to ask.
        path: of the video.
        start: of the part to look at, in seconds.
        stop: of the part, in seconds; None for the end.
        progress: called with the share that is done.

    Returns:
        start, stop and by run its segments: start, stop, action and the best classes of each.

    Raises:
        DataError: the video is missing, damaged or no video.
    """
    source = VideoSource(path)
    with closing(source):
        stop = source.seconds if stop is None else min(stop, source.seconds)
        step = max(SHORTEST_STEP, (stop - start) / MOST_POINTS)
        window = Window(needed_seconds([model.cut for model in models]) + step, source.flow_stride)
        points: dict[str, list[Answer]] = {model.name: [] for model in models}
        for at, decode in source.frames(start, stop):
            window.add(at, decode)
            for model in models:
                _answer(model, window, points[model.name], start, step)
            progress((at - start) / max(stop - start, 1e-6))
        for model in models:
            if not points[model.name]:  # shorter than a clip, which then repeats frames, as in evaluation
                points[model.name].append(_whole(model, window, start, stop))
    runs = {model.name: list(_segments(model, points[model.name], start, stop)) for model in models}
    return {"start": start, "stop": stop, "runs": runs}


def _answer(model: LiveModel, window: Window, points: list[Answer], start: float, step: float) -> None:
    due = points[-1].stop + step if points else start + model.cut.seconds
    end = window.end(model.cut)
    if end is not None and end >= due - 1e-6:
        points.append(model.answer(window, end))


def _whole(model: LiveModel, window: Window, start: float, stop: float) -> Answer:
    verb, noun = model.logits(window.clip(model.cut, start, stop))
    verbs, nouns = (one.float().log_softmax(-1)[0].cpu().numpy() for one in (verb, noun))
    return Answer(start, stop, verbs, nouns, seconds=0.0)


def _segments(model: LiveModel, points: list[Answer], start: float, stop: float) -> Iterator[dict[str, Any]]:
    """Join neighbours whose best action is the same; a point stands for the time around the middle of its clip."""
    middles = [(point.start + point.stop) / 2 for point in points]
    edges = [start, *((a + b) / 2 for a, b in pairwise(middles)), stop]
    best = [(int(point.verbs.argmax()), int(point.nouns.argmax())) for point in points]
    first = 0
    for row in range(1, len(points) + 1):
        if row < len(points) and best[row] == best[first]:
            continue
        verb_V, noun_N = (
            np.log(np.mean([np.exp(getattr(point, name)) for point in points[first:row]], axis=0))
            for name in ("verbs", "nouns")
        )
        named = model.best(verb_V, noun_N)
        place = {"start": round(edges[first], 3), "stop": round(edges[row], 3)}
        yield {**place, "action": named["actions"][0]["name"], **named}
        first = row


def truth(
    segments: Sequence[Segment], names: dict[str, dict[int, str]], video_id: str, start: float, stop: float
) -> list[dict[str, Any]]:
    """The labelled segments in a part of a video.

    Args:
        segments: of lists that have labels.
        names: of verbs and nouns by class.
        video_id: of the video.
        start: of the part, in seconds.
        stop: of the part, in seconds.

    Returns:
        start, stop, narration id and action of each.
    """
    return [
        {
            "start": one.start,
            "stop": one.stop,
            "id": one.narration_id,
            "action": f"{names['verb'].get(one.verb_class, one.verb_class)} "
            f"{names['noun'].get(one.noun_class, one.noun_class)}",
        }
        for one in segments
        if one.video_id == video_id and one.verb_class is not None and one.noun_class is not None
        and one.stop > start and one.start < stop
    ]  # fmt: skip
