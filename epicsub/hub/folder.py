"""The files of a published model: weights as safetensors, the recipe, a note with its provenance, and a card.

Nothing in such a folder is a pickle. The note carries the digest of the other files that are read, so that a folder is
read whole or not at all.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from epicsub.constants import NUM_NOUNS, NUM_VERBS, __version__
from epicsub.errors import HubError
from epicsub.io import sha256, write_text
from epicsub.io.files import read_text
from epicsub.recipe import recipe_from_dict
from epicsub.text import join_problems
from epicsub.training.checkpoint import Checkpoint
from epicsub.unpickle import load_safetensors

FORMAT = 1
WEIGHTS, RECIPE, NOTE, CARD = "model.safetensors", "recipe.yaml", "epicsub.json", "README.md"
FILES = (NOTE, RECIPE, WEIGHTS, CARD)
_FACTS = {
    "step": int, "steps": int, "seed": int, "stopped": bool, "version": str, "commit": str,
    "lists": dict, "scores": dict, "mean_of_last": dict, "initial": dict,
}  # fmt: skip


def write_folder(folder: Path, checkpoint: Checkpoint, tables: Mapping[str, str], card: str) -> None:
    """Write a published model.

    Args:
        folder: to write into; it is there.
        checkpoint: of a run.
        tables: digest of each table of class names, see `class_digest`; empty where they are not known.
        card: the text of README.md.
    """
    recipe = {**checkpoint.recipe, "data": {**checkpoint.recipe["data"], "root": None}}  # a path of this machine
    write_text(folder / RECIPE, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
    # Copies: a state dict may share storage between tensors, which safetensors does not.
    tensors = {name: value.detach().clone().contiguous() for name, value in checkpoint.model.items()}
    save_file(tensors, folder / WEIGHTS, {"format": "pt", "epicsub": __version__})
    note = {
        "epicsub_model": FORMAT,
        **{name: getattr(checkpoint, name) for name in _FACTS},
        "classes": {"verb": NUM_VERBS, "noun": NUM_NOUNS, "tables": dict(tables)},
        "files": {name: sha256(folder / name) for name in (RECIPE, WEIGHTS)},
    }
    write_text(folder / NOTE, json.dumps(note, indent=1) + "\n")
    write_text(folder / CARD, card)


def is_published(folder: Path) -> bool:
    """Tell the folder of a published model from that of a run.

    Args:
        folder: any.

    Returns:
        True where it holds the note of a published model.
    """
    return (folder / NOTE).is_file()


def read_note(folder: Path) -> dict[str, Any]:
    """Read the note of a published model.

    Args:
        folder: of the model.

    Returns:
        Its content.

    Raises:
        HubError: it is no note, or one of another format or of other classes.
    """
    path = folder / NOTE
    try:
        note = json.loads(read_text(path, HubError))
    except (ValueError, RecursionError) as error:
        raise HubError(f"{path}: is no JSON; fetch the model again") from error
    if not isinstance(note, dict) or "epicsub_model" not in note:
        raise HubError(f"{path}: not the note of a model of epicsub; name one that `epicsub hub push` wrote")
    if note["epicsub_model"] != FORMAT:
        raise HubError(
            f"{path}: written by epicsub {note.get('version')!s:.40}, which this {__version__} cannot read; install "
            "that version"
        )
    problems = [
        f"{name} is a {type(note.get(name)).__name__}, a {kind.__name__} expected"
        for name, kind in {**_FACTS, "classes": dict, "files": dict}.items()
        if type(note.get(name)) is not kind
    ]
    if not problems:
        files = note["files"]
        problems = [f"lacks the digest of {name}" for name in (RECIPE, WEIGHTS) if not isinstance(files.get(name), str)]
        counts = {task: note["classes"].get(task) for task in ("verb", "noun")}
        if counts != {"verb": NUM_VERBS, "noun": NUM_NOUNS}:
            problems.append(f"has {counts} classes, this challenge {NUM_VERBS} verbs and {NUM_NOUNS} nouns")
    if problems:
        raise HubError(f"{path}: {join_problems(problems, 'nothing was read; fetch it again, or name another')}")
    return note


def read_folder(folder: Path) -> Checkpoint:
    """Read a published model, after its files' digests were compared with its note.

    Args:
        folder: of the model.

    Returns:
        What a checkpoint of the run would hold, without the state that resuming needs.

    Raises:
        HubError: a file is missing, is not the one that was published, or cannot be read.
    """
    note = read_note(folder)
    check_files(folder, note)
    path = folder / RECIPE
    try:
        recipe = yaml.safe_load(read_text(path, HubError))
    except (yaml.YAMLError, RecursionError) as error:
        raise HubError(f"{path}: is no YAML; fetch the model again") from error
    if not isinstance(recipe, dict):
        raise HubError(f"{path}: holds no recipe; fetch the model again")
    values = recipe_from_dict(recipe, str(path)).model_dump(mode="json")
    model: dict[str, torch.Tensor] = load_safetensors(folder / WEIGHTS, HubError)
    return Checkpoint(recipe=values, model=model, **{name: note[name] for name in _FACTS})


def check_files(folder: Path, note: Mapping[str, Any]) -> None:
    """Compare the files of a published model with its note.

    Args:
        folder: of the model.
        note: see `read_note`.

    Raises:
        HubError: files that are missing or have another content; all at once.
    """
    problems = []
    for name, expected in note["files"].items():
        if name not in (RECIPE, WEIGHTS):
            problems.append(f"names {name!r}, which is no file of a model")
        elif not (folder / name).is_file():
            problems.append(f"{name} is missing")
        elif (found := sha256(folder / name)) != expected:
            problems.append(f"{name} is not the file that was published: its sha256 is {found}, published {expected}")
    if problems:
        raise HubError(
            f"{folder}: {'; '.join(problems)}; the model was changed after it was written, or cut short on its way: "
            "nothing of it is used; delete the folder, or ask who published it"
        )


def class_digest(names: Mapping[int, str]) -> str:
    """Digest a table of class names by its content, not by how the file is written.

    Args:
        names: by class.

    Returns:
        Hexadecimal SHA-256.
    """
    return hashlib.sha256(json.dumps(sorted(names.items())).encode()).hexdigest()
