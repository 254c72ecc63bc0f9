"""A trained model over clips that come live: its best verbs, nouns and actions by name."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from epicsub.api.predict import ClipModel, load_model
from epicsub.inference.predict import mean_over_views
from epicsub.live.window import Cut, Window

BEST = 5


@dataclass(frozen=True)
class Answer:
    """What a model says of one clip."""

    start: float
    """of the clip, in seconds"""
    stop: float
    verbs: np.ndarray
    """(97,) log-probabilities"""
    nouns: np.ndarray
    """(300,) log-probabilities"""
    seconds: float
    """that cutting and the forward pass took"""


class LiveModel:
    """A model that several pages may ask; one clip is computed at a time."""

    def __init__(self, name: str, model: ClipModel) -> None:
        """Wrap a model.

        Args:
            name: under which its answers are shown.
            model: in evaluation mode.

        Raises:
            LiveError: it reads features.
        """
        self.name, self.model = name, model
        self.cut = Cut.of(model.recipe)
        self._lock = Lock()
        self._device = next(model.parameters()).device

    @torch.inference_mode()
    def logits(self, clips: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the model.

        Args:
            clips: uint8 (1, C, T, S, S) by modality.

        Returns:
            Verb and noun logits, (1, 97) and (1, 300).
        """
        with self._lock:
            output = self.model({name: clip.to(self._device) for name, clip in clips.items()})
        return output.verb_logits_BV, output.noun_logits_BN

    def answer(self, window: Window, stop: float) -> Answer:
        """Classify the clip that ends at a time.

        Args:
            window: which holds it.
            stop: in seconds.

        Returns:
            The answer.

        Raises:
            LiveError: a frame of it cannot be decoded.
        """
        began = time.perf_counter()
        start = stop - self.cut.seconds
        verb, noun = self.logits(window.clip(self.cut, start, stop))
        verb_V, noun_N = (mean_over_views(one, 1)[0].numpy() for one in (verb, noun))
        return Answer(start, stop, verb_V, noun_N, time.perf_counter() - began)

    def best(self, verb_V: np.ndarray, noun_N: np.ndarray, count: int = BEST) -> dict[str, list[dict[str, Any]]]:
        """Name the most probable classes.

        Args:
            verb_V: log-probabilities.
            noun_N: log-probabilities.
            count: how many of each.

        Returns:
            verbs, nouns and actions, the best first: name and probability.
        """
        names = self.model.names
        verbs, nouns = (np.argsort(-one, kind="stable")[:count] for one in (verb_V, noun_N))
        # The best pairs are among the best of each: a pair is no more probable than either.
        pairs = sorted(((float(verb_V[v] + noun_N[n]), int(v), int(n)) for v in verbs for n in nouns), reverse=True)
        say = {task: (lambda row, task=task: names[task].get(int(row), str(row))) for task in ("verb", "noun")}
        return {
            "verbs": [{"name": say["verb"](v), "p": _p(verb_V[v])} for v in verbs[:count]],
            "nouns": [{"name": say["noun"](n), "p": _p(noun_N[n])} for n in nouns[:count]],
            "actions": [{"name": f"{say['verb'](v)} {say['noun'](n)}", "p": _p(logp)} for logp, v, n in pairs[:count]],
        }


def load_models(runs: Sequence[str], data: str | Path | None, device: str) -> list[LiveModel]:
    """Load runs to look at, under names that differ.

    Args:
        runs: checkpoints, runs' folders or names, or hf://ORG/NAME.
        data: data root, for the names of classes.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        One model per run, in their order.

    Raises:
        EpicsubError: no such run, it is damaged, or it reads features.
    """
    names = [
        run.removeprefix("hf://") if run.startswith("hf://") else Path(run).name.removesuffix(".pth") for run in runs
    ]
    names = [Path(run).parent.name if name in ("last", "best") else name for run, name in zip(runs, names, strict=True)]
    shown = [run if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]
    return [LiveModel(name, load_model(run, data=data, device=device)) for name, run in zip(shown, runs, strict=True)]


def _p(logprob: float) -> float:
    return round(float(np.exp(logprob)), 4)
