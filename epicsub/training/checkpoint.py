"""A checkpoint carries its story: resolved recipe, seed, step, commit, classes, data, scores; and all that a resumed
run needs to end where the uninterrupted one does."""

import pickle
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from epicsub.constants import NUM_NOUNS, NUM_VERBS, __version__
from epicsub.errors import TrainingError
from epicsub.io import atomic_write

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a `.pth` file of epicsub holds."""

    recipe: dict[str, Any]
    """The resolved recipe, as `Recipe.model_dump()` gives it."""
    step: int
    """Optimiser steps done, over all stages."""
    steps: int
    """Optimiser steps of the whole recipe."""
    lists: dict[str, str]
    """SHA-256 of each annotation list that the run read, by file name; of features, of what made them."""
    scores: dict[str, float]
    """Scores of the last evaluation before this step, in percent; empty where there was none."""
    model: dict[str, torch.Tensor]
    """State dict of the model."""
    mean_of_last: dict[str, Any] = field(default_factory=dict)
    """Mean scores of the run's last evaluations, their steps and protocol; empty where the recipe asks for none."""
    training: dict[str, Any] = field(default_factory=dict)
    """State of optimisers and adaptation, for resuming."""
    stopped: bool = False
    """Whether the run ended before its last step, since its score no longer rose (train.patience)."""
    seed: int = 0
    version: str = __version__
    commit: str = "unknown"

    @property
    def finished(self) -> bool:
        return self.stopped or self.step == self.steps


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all; it loads with `weights_only=True`."""
    content = {"epicsub_checkpoint": FORMAT, "classes": {"verb": NUM_VERBS, "noun": NUM_NOUNS}, **vars(checkpoint)}
    with atomic_write(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path, for_resuming: bool = True) -> Checkpoint:
    """Read a checkpoint that `epicsub train` wrote.

    Args:
        path: a `.pth` file.
        for_resuming: False drops the state of optimisers and adaptation, twice the size of the weights.

    Returns:
        The checkpoint, on the CPU.

    Raises:
        TrainingError: the file is missing, damaged, a pickle of something else, or of other class counts.
    """
    content = _read(path)
    if not isinstance(content, dict) or "epicsub_checkpoint" not in content:
        found = f"its keys are {', '.join(map(str, list(content)[:5]))}" if isinstance(content, dict) else type(content)
        raise TrainingError(
            f"{path}: not a checkpoint of epicsub ({found}). Name a .pth that `epicsub train` wrote, a run's folder, "
            "or a file of predictions (.npz, .pt, .pkl)"
        )
    if content.pop("epicsub_checkpoint") != FORMAT:
        raise TrainingError(
            f"{path}: written by epicsub {content.get('version')}, which this {__version__} cannot read"
        )
    classes = content.pop("classes")
    if classes != {"verb": NUM_VERBS, "noun": NUM_NOUNS}:
        raise TrainingError(f"{path}: has {classes} classes, this challenge {NUM_VERBS} verbs and {NUM_NOUNS} nouns")
    if not for_resuming:
        content["training"] = {}
    return Checkpoint(**content)


def _read(path: Path) -> object:
    if not path.is_file():
        raise TrainingError(f"{path}: no such checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = first_line(error)
        raise TrainingError(f"{path}: holds more than tensors and plain values, and is not loaded: {reason}") from error
    except (RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise TrainingError(f"{path}: damaged or not a checkpoint: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """What an exception says in one line; some say nothing but their kind."""
    return (str(error) or type(error).__name__).splitlines()[0]


def source_commit() -> str:
    """Commit of the epicsub source in use, `+` after it where it has local changes; `unknown` outside a checkout."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
