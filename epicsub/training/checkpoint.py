"""A checkpoint carries its provenance, and all that a resumed run needs to end where the uninterrupted one does.

Its provenance is the resolved recipe, seed, step, commit, classes, data and scores.
"""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from epicsub.constants import NUM_NOUNS, NUM_VERBS, __version__
from epicsub.errors import TrainingError
from epicsub.io import atomic_write
from epicsub.models.state_dict import plain_names
from epicsub.recipe import Recipe, recipe_from_dict
from epicsub.text import name_some
from epicsub.unpickle import load_torch

FORMAT = 1
FREE = ("description", "data.root", "data.workers", "train.devices", "train.nodes")
"""Settings that a resumed run may change; by the last two it goes on to the same, but for rounding."""


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
    initial: dict[str, Any] = field(default_factory=dict)
    """What the initial weights were pre-trained on, as they say themselves (provenance.py); empty where they do not."""
    training: dict[str, Any] = field(default_factory=dict)
    """State of optimisers and adaptation, for resuming."""
    stopped: bool = False
    """True if the run ended before its last step, as its score no longer rose (train.patience)."""
    seed: int = 0
    version: str = __version__
    commit: str = "unknown"

    @property
    def finished(self) -> bool:
        """True if nothing is left to train."""
        return self.stopped or self.step == self.steps


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all; it loads with `weights_only=True`. The same content gives the same bytes.

    Args:
        path: of the file.
        checkpoint: what to write.
    """
    content = {"epicsub_checkpoint": FORMAT, "classes": {"verb": NUM_VERBS, "noun": NUM_NOUNS}, **vars(checkpoint)}
    with atomic_write(path) as temporary, open(temporary, "wb") as handle:
        # Through a handle: given a path, torch writes the file's name into the file.
        torch.save(_apart(content), handle)


def _apart(content: Any) -> Any:
    """Copy plain containers, so that equal strings are one object and no others are shared.

    Pickle writes an object once and refers to it from then on, and after a resume other objects are shared.
    """
    if type(content) is dict:
        return {_apart(key): _apart(value) for key, value in content.items()}
    if type(content) in (list, tuple):
        return type(content)(map(_apart, content))
    return sys.intern(content) if type(content) is str else content


def load_checkpoint(path: Path, for_resuming: bool = True) -> Checkpoint:
    """Read a checkpoint that `epicsub train` wrote.

    Args:
        path: a `.pth` file.
        for_resuming: False drops the state of optimisers and adaptation, twice the size of the weights, and leaves the
            weights on the disk until a model takes them: members of an ensemble need no memory before and after.

    Returns:
        The checkpoint, on the CPU.

    Raises:
        TrainingError: the file is missing, damaged, a pickle of something else, or of other class counts.
    """
    if not path.is_file():
        raise TrainingError(f"{path}: no such checkpoint; name a .pth, a run's folder or a run's name")
    content = load_torch(path, TrainingError, mapped=not for_resuming)
    if not isinstance(content, dict) or "epicsub_checkpoint" not in content:
        raise TrainingError(
            f"{path}: not a checkpoint of epicsub ({_what(content)}). Name a .pth that `epicsub train` wrote, a run's "
            "folder, or a file of predictions (.npz, .pt, .pkl); weights of others are named in a recipe "
            "(model.weights), those of ActionModel are converted by `epicsub adopt`"
        )
    if content.pop("epicsub_checkpoint") != FORMAT:
        raise TrainingError(
            f"{path}: written by epicsub {content.get('version')}, which this {__version__} cannot read; install that "
            "version"
        )
    classes = content.pop("classes", None)
    if classes != {"verb": NUM_VERBS, "noun": NUM_NOUNS}:
        raise TrainingError(
            f"{path}: has {classes} classes, this challenge {NUM_VERBS} verbs and {NUM_NOUNS} nouns; train it anew"
        )
    _check_entries(path, content)
    if not for_resuming:
        content["training"] = {}
    return Checkpoint(**content | {"model": plain_names(content["model"])})


def load_trained(path: Path) -> Checkpoint:
    """Read a checkpoint to predict with.

    Args:
        path: a `.pth` file.

    Returns:
        The checkpoint, without the state of optimisers.

    Raises:
        TrainingError: as of `load_checkpoint`; or it is of a pre-training, which has learnt no verb and no noun.
    """
    checkpoint = load_checkpoint(path, for_resuming=False)
    if checkpoint.recipe.get("pretext") is not None:
        raise TrainingError(
            f"{path}: is of a pre-training, which tells the order of shuffled clips, not verbs and nouns: train a "
            f"recipe from its weights, model.weights: {path.parent / 'weights'}/MODALITY.safetensors, and name that run"
        )
    return checkpoint


def _check_entries(path: Path, content: dict[str, Any]) -> None:
    """Refuse a checkpoint whose entries are not those that `save_checkpoint` writes."""
    types: dict[str, type] = {
        "lists": dict,
        "scores": dict,
        "mean_of_last": dict,
        "initial": dict,
        "training": dict,
        "recipe": dict,
        "model": dict,
    }
    types |= {"step": int, "steps": int, "seed": int, "stopped": bool, "version": str, "commit": str}
    needed = ("recipe", "step", "steps", "lists", "scores", "model")
    problems = [f"lacks {name}" for name in needed if name not in content]
    problems += [f"has {name!s:.40}, which no checkpoint has" for name in content if name not in types]
    problems += [
        f"{name} is a {type(content[name]).__name__}, a {kind.__name__} expected"
        for name, kind in types.items()
        if not isinstance(content.get(name, kind()), kind)
    ]
    if isinstance(content.get("model"), dict):
        others = [str(name) for name, x in content["model"].items() if not isinstance(x, torch.Tensor)]
        problems += [f"its model holds what is no tensor: {name_some(others, 5)}"] if others else []
    if problems:
        raise TrainingError(
            f"{path}: no checkpoint as epicsub writes them; copy or train it anew: {'; '.join(problems)}"
        )


def _what(content: object) -> str:
    if not isinstance(content, dict):
        return f"it holds a {type(content).__name__}"
    if "pytorch-lightning_version" in content:
        return "it is one of Lightning"
    if content and all(isinstance(value, torch.Tensor) for value in content.values()):
        return f"it holds tensors alone: {name_some(map(str, content), 3)}"
    return f"its keys are {name_some(map(str, content), 5) or 'none'}"


def source_commit() -> str:
    """Describe the commit of the epicsub source in use.

    Returns:
        Its hash, with `+` after it where there are local changes; `unknown` outside a checkout.
    """
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


def checkpoint_to_resume(recipe: Recipe, lists: Mapping[str, str], folder: Path) -> Checkpoint | None:
    """Read the checkpoint to resume from.

    Args:
        recipe: the resolved recipe.
        lists: digest of each annotation list, by file name.
        folder: the run's.

    Returns:
        The checkpoint, or None where the folder holds no run.

    Raises:
        TrainingError: the folder holds a run of another recipe or of other lists; the differing keys are named.
    """
    path = folder / "last.pth"
    if not path.exists():
        return None
    checkpoint = load_checkpoint(path)
    before_run = recipe_from_dict(checkpoint.recipe, str(path)).model_dump(mode="json")  # with what older runs lack
    changed = [
        f"  {key}: {before!r} in the run, {now!r} now"
        for key, (before, now) in differences(before_run, recipe.model_dump(mode="json")).items()
        if key not in FREE
    ]
    changed += [
        f"  {name}: another content than the run's" for name in lists if lists[name] != checkpoint.lists.get(name)
    ]
    if changed:
        raise TrainingError(
            f"{path}: this run was made with other settings, and is not resumed:\n"
            + "\n".join(changed)
            + "\nGive another --out, or start it anew with --no-resume"
        )
    return checkpoint


def differences(before: object, now: object, key: str = "") -> dict[str, tuple[object, object]]:
    """Compare two nested structures of plain values.

    Args:
        before: the one.
        now: the other.
        key: dotted, of both in what holds them.

    Returns:
        The leaves that differ, in both, by dotted key.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [(name, before.get(name), now.get(name)) for name in {**before, **now}]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(str(index), one, other) for index, (one, other) in enumerate(zip(before, now, strict=True))]
    else:
        return {} if before == now else {key: (before, now)}
    found: dict[str, tuple[object, object]] = {}
    for name, one, other in pairs:
        found.update(differences(one, other, f"{key}.{name}".lstrip(".")))
    return found
