"""What any recipe of recipes/ asks for, made up: lists of the names and lengths it needs, features of its lengths, and
weight files with every tensor of the published ones, by name and shape, that take next to no room.

The tensors hold zeros: a dry run does not compute with them. A file of `torch.save` keeps one element of each and its
strides, a .safetensors file is a hole on the disk.
"""

import csv
import json
import os
from collections.abc import Mapping
from itertools import count, cycle, islice
from pathlib import Path

import timm
import torch
import transformers
from pytorchvideo.models import hub
from torch import Tensor, nn
from torchvision.models import video

from epicsub.data.features.store import FeatureStore
from epicsub.modality import MODALITIES
from epicsub.models.build import build_model
from epicsub.models.table import WEIGHTS
from epicsub.recipe import Recipe
from epicsub.validation import load_protocol

State = Mapping[str, Tensor]
KINETICS = 400


def make_root(folder: Path, kitchens: Path, recipes: list[Recipe]) -> None:
    """A data root for all of them: the kitchens' videos and flow under lists as long as the largest batch."""
    for name in ("videos", "flow"):
        (folder / name).symlink_to(kitchens / name)
    (folder / "annotations").mkdir()
    for table in (kitchens / "annotations").glob("*.csv"):
        (folder / "annotations" / table.name).write_text(table.read_text())
    stages = [stage for recipe in recipes for stage in recipe.train.stages]
    longest = max(max(stage.source_batch, stage.target_batch) for stage in stages)
    rows = list(csv.DictReader((kitchens / "annotations" / "EPIC_100_train.csv").open()))
    number, lists = count(), lists_of(recipes)
    ids: list[str] = []
    for name, verbs in lists.items():
        chosen = [
            row
            | {"narration_id": f"{row['video_id']}_{next(number)}"}
            | ({"verb_class": verbs[place % len(verbs)], "noun_class": ""} if verbs else {})
            for place, row in enumerate(islice(cycle(rows), longest))
        ]
        path = folder / "annotations" / name
        path.parent.mkdir(exist_ok=True)
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(chosen)
        ids += [row["narration_id"] for row in chosen]
    for place, lengths in features_of(recipes).items():
        store = FeatureStore(folder / place, {"model": "made up"})
        store.add(ids, {name: torch.zeros(len(ids), *length) for name, length in lengths.items()})


def lists_of(recipes: list[Recipe]) -> dict[str, tuple[int, ...] | None]:
    """Every list that a recipe or its protocol reads, and the only verbs it may have where there are no nouns."""
    found: dict[str, tuple[int, ...] | None] = {}
    for recipe in recipes:
        scored = load_protocol(Path(recipe.evaluation.protocol)).validation.list
        for name in (*recipe.data.source, *recipe.data.target, scored):
            found[name] = None if recipe.classes.nouns else recipe.classes.verbs
    return found


def features_of(recipes: list[Recipe]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shape of a segment's features by folder and modality: (D,), or (T, D) where a model reads several times."""
    return {
        place: {
            name: ((recipe.model.segments,) if hasattr(recipe.model, "segments") else ()) + (length,)
            for name, length in recipe.model.dims.items()
        }
        for recipe in recipes
        for place in (recipe.data.features or {}).values()
    }


def make_weights(folder: Path, recipes: list[Recipe]) -> None:
    """The weight files that the recipes name."""
    for recipe in recipes:
        wanted = getattr(recipe.model, "weights", None)
        if wanted == "timm":
            with torch.device("meta"):
                state = timm.create_model(recipe.model.backbone).state_dict()
            write(folder / f"{recipe.model.backbone}.pt", state)
        for name in wanted.values() if isinstance(wanted, dict) else ():
            if name is not None and not (folder / WEIGHTS[name].file).exists():
                write(folder / WEIGHTS[name].file, published(name))


def published(name: str) -> State:
    """The tensors of a published file, without memory."""
    file = WEIGHTS[name]
    model, _, variant = file.model.partition(" ")
    if model == "i3d":
        with torch.device("meta"):
            made = build_model("i3d", [file.modality], False, weights={file.modality: None}).stream(file.modality)
        head = {"logits.conv3d.weight": torch.empty(KINETICS, 1024, 1, 1, 1, device="meta")}
        head["logits.conv3d.bias"] = torch.empty(KINETICS, device="meta")
        assert made.trunk.Conv3d_1a_7x7.conv3d.in_channels == MODALITIES[file.modality].channels
        return made.trunk.state_dict() | head
    if model == "x3d":  # the library reads numbers while it builds
        return {"model_state": hub.x3d_m().state_dict()}  # type: ignore[dict-item]
    with torch.device("meta"):
        return NETWORKS[model, variant]().state_dict()


NETWORKS: Mapping[tuple[str, str], type[nn.Module]] = {
    ("slowfast", "r50"): hub.slowfast_r50,
    ("i3d_r50", "r50"): hub.i3d_r50,
    ("r2plus1d", "18"): video.r2plus1d_18,
    ("mvit_v2", "s"): video.mvit_v2_s,
    ("video_swin", "t"): video.swin3d_t,
    ("timesformer", "base"): lambda: transformers.TimesformerForVideoClassification(
        transformers.TimesformerConfig(num_labels=KINETICS)
    ),
    ("videomae", "base"): lambda: transformers.VideoMAEForVideoClassification(
        transformers.VideoMAEConfig(num_labels=KINETICS)
    ),
}  # type: ignore[assignment]


def write(path: Path, state: State) -> None:
    """A weight file with these names and shapes."""
    if path.suffix != ".safetensors":
        torch.save(hollow(state), path)
        return
    header, end = {}, 0
    for name, value in state.items():
        size = 4 * value.numel()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)


def hollow(state: State) -> dict[str, object]:
    """Zeros of the same shapes that share one element."""
    return {
        name: hollow(value) if isinstance(value, Mapping) else torch.zeros((), dtype=value.dtype).expand(value.shape)
        for name, value in state.items()
    }
