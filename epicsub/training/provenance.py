"""What weights were pre-trained on: written into the file, read where a run starts from it, kept in its checkpoints.

A submission states its supervision levels by it (submission/supervision.py): weights that have seen test clips stay
such whatever the file is called, in whatever run they go on.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from epicsub.data.features.store import INDEX, read_index
from epicsub.data.root import DataRoot
from epicsub.errors import EpicsubError
from epicsub.io import atomic_write, user_path
from epicsub.models.weights import find_weights
from epicsub.recipe import Recipe
from epicsub.training.checkpoint import source_commit

KEY = "epicsub_seen"
"""Of the file's metadata: JSON. One key alone, since safetensors writes several in no fixed order."""


def provenance_of(
    recipe: Recipe, lists: Mapping[str, str], videos: Iterable[str], before: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe weights that a recipe pre-trains.

    Args:
        recipe: of the pre-training.
        lists: SHA-256 of each list that it saw, by name.
        videos: that it saw, held-out ones too.
        before: of the weights it started from; empty for others.

    Returns:
        Plain values: pretext, recipe and its digest, commit, steps, lists, videos and supervision levels, those of
        what came before among them.
    """
    text = json.dumps(recipe.model_dump(mode="json"), sort_keys=True)
    own = {
        "pretext": "order",
        "recipe": recipe.name,
        "recipe_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "commit": source_commit(),
        "steps": sum(stage.length for stage in recipe.train.stages),
        "lists": dict(lists),
        "videos": sorted(set(videos)),
        "levels": {"pretraining": recipe.supervision.pretraining, "data": recipe.supervision.data},
    }
    return merge_provenance([own, before])


def merge_provenance(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Join what several weights have seen.

    Args:
        parts: of `provenance_of`, empty ones too; the first is described in full, of the others what was seen counts.

    Returns:
        The first with the lists and videos of all, and the highest of their levels; empty where all are.
    """
    seen = [part for part in parts if part]
    if not seen:
        return {}
    levels = [part["levels"] for part in seen]
    return {
        **seen[0],
        "lists": {name: digest for part in reversed(seen) for name, digest in part["lists"].items()},
        "videos": sorted({video for part in seen for video in part["videos"]}),
        "levels": {kind: max(int(level[kind]) for level in levels) for kind in ("pretraining", "data")},
    }


def write_trunk(path: Path, tensors: Mapping[str, Tensor], provenance: Mapping[str, Any]) -> None:
    """Write weights with what they have seen, whole or not at all. The same content gives the same bytes.

    Args:
        path: a .safetensors file.
        tensors: by name.
        provenance: of `provenance_of`.
    """
    with atomic_write(path) as temporary:
        save_file(dict(tensors), temporary, metadata={KEY: json.dumps(provenance, sort_keys=True)})


def read_provenance(path: Path) -> dict[str, Any]:
    """Read what weights say of themselves.

    Args:
        path: of weights.

    Returns:
        As `provenance_of` made it; empty for a file that says nothing.

    Raises:
        EpicsubError: the file says it is of epicsub, and what it says cannot be read.
    """
    if path.suffix.lower() != ".safetensors":
        return {}
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError):
        return {}  # loading it says why
    if text is None:
        return {}
    try:
        content = json.loads(text)
        levels = {kind: int(content["levels"][kind]) for kind in ("pretraining", "data")}
        lists = {str(name): str(digest) for name, digest in dict(content["lists"]).items()}
        return {**content, "levels": levels, "lists": lists, "videos": [str(video) for video in content["videos"]]}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise EpicsubError(
            f"{path}: its metadata {KEY!r} does not say what these weights have seen: pre-train them anew"
        ) from error


def initial_provenance(recipe: Recipe) -> dict[str, Any]:
    """Read what the files named in a recipe's `model.weights` have seen.

    Args:
        recipe: of a run that begins with them.

    Returns:
        Of all streams together; empty for published and random weights.

    Raises:
        EpicsubError: a file is not there, or says of itself what cannot be read.
    """
    weights = getattr(recipe.model, "weights", None)
    names = weights.values() if isinstance(weights, dict) else [weights]
    files = [find_weights(name) for name in names if name is not None and name != "timm"]
    return merge_provenance([read_provenance(file) for file in files])


def features_provenance(recipe: Recipe, root: DataRoot) -> dict[str, Any]:
    """Read what the initial weights of the models have seen that made a recipe's features.

    Args:
        recipe: with or without `data.features`.
        root: the data root.

    Returns:
        Of all features together; empty for those that say nothing.
    """
    places = [root.path / user_path(place) for place in dict.fromkeys((recipe.data.features or {}).values())]
    made = [read_index(place)["made_by"] for place in places if (place / INDEX).is_file()]
    return merge_provenance([one.get("initial", {}) for one in made])
