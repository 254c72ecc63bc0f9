"""One page's camera: frames come in, the newest clip is classified as often as the machine allows."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Any

from epicsub.errors import EpicsubError
from epicsub.live.classify import LiveModel
from epicsub.live.window import Window, decode_jpeg, needed_seconds

RATE_OVER = 5.0
"""seconds over which rates are taken"""
MOST_BYTES = 2_000_000
"""of one picture"""
log = logging.getLogger(__name__)


class CameraSession:
    """Frames of one page, and the thread that answers to them."""

    def __init__(self, models: Sequence[LiveModel], send: Callable[[dict[str, Any]], None]) -> None:
        """Start the thread.

        Args:
            models: to ask.
            send: called from the thread with each answer, or with {"problem": words}.
        """
        self._models, self._send = models, send
        self._window = Window(needed_seconds([model.cut for model in models]))
        self._came, self._closed = Event(), False
        self._arrived: dict[str, deque[float]] = {"frames": deque(), "clips": deque()}
        self._at: dict[float, float] = {}  # time of a frame by the page's clock -> by ours, when it came
        self._thread = Thread(target=self._work, daemon=True, name="epicsub-live")
        self._thread.start()

    def add(self, shown: float, jpeg: bytes) -> None:
        """Take a frame.

        Args:
            shown: seconds, by the page's clock.
            jpeg: the picture.
        """
        now = time.monotonic()
        self._arrived["frames"].append(now)
        self._at[shown] = now
        while len(self._at) > 600:
            self._at.pop(next(iter(self._at)))
        self._window.add(shown, lambda: decode_jpeg(jpeg))
        self._came.set()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._came.set()
        self._thread.join(timeout=30)

    def _work(self) -> None:
        done: dict[str, float] = {}
        while not self._closed:
            self._came.wait()
            self._came.clear()
            for model in self._models:
                stop = self._window.end(model.cut)
                if stop is None or stop == done.get(model.name) or self._closed:
                    continue
                done[model.name] = stop
                try:
                    self._send(self._classify(model, stop))
                except EpicsubError as error:
                    self._send({"problem": str(error)})
                except Exception:  # our own fault: the log has it, the page is told, and the server lives
                    if not self._closed:
                        log.exception("a clip failed")
                        self._send({"problem": "the server failed at this clip; its log says why"})

    def _classify(self, model: LiveModel, stop: float) -> dict[str, Any]:
        answer = model.answer(self._window, stop)
        now = time.monotonic()
        self._arrived["clips"].append(now)
        return {
            "run": model.name,
            "stop": stop,
            "ms": round(1000 * answer.seconds, 1),
            "latency_ms": round(1000 * (now - self._at.get(stop, now)), 1),
            "frames_per_second": self._rate("frames", now),
            "clips_per_second": self._rate("clips", now),
            **model.best(answer.verbs, answer.nouns),
        }

    def _rate(self, name: str, now: float) -> float:
        times = self._arrived[name]
        while times and times[0] < now - RATE_OVER:
            times.popleft()
        return round(len(times) / max(now - times[0], 1.0), 1) if times else 0.0
