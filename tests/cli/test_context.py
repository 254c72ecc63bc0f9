"""data.context: clips of short segments take in the video around them, from the originals and from the store."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from epicsub.data.annotations import Segment
from epicsub.data.prepared import StoreChoice
from epicsub.data.root import DataRoot
from epicsub.recipe import load_recipe
from epicsub.training.loaders import Domains, source_segments, target_segments, training_loader

pytestmark = pytest.mark.xdist_group("cli")

RGB = [
    "train", "recipes/tiny/source_only.yaml", "data.modalities=[rgb]", "model.weights={rgb: null}", "data.workers=0",
    "model.width=0.0625", "train.stages.0.steps=2", "train.stages.1.steps=1", "train.stages.0.source_batch=6",
    "train.stages.1.source_batch=6", "evaluation.protocol=small.yaml", "data.frames=40",
]  # fmt: skip


@pytest.mark.parametrize("synchronised", [True, False])
def test_modalities_draw_their_own_windows_where_a_recipe_says_so(
    kitchens: Path, repository: Path, synchronised: bool
) -> None:
    words = [f"data.synchronised={str(synchronised).lower()}", "data.workers=0", "data.frames=9"]
    recipe = load_recipe(repository / "recipes" / "tiny" / "mmir_i3d.yaml", words).recipe
    root = DataRoot(kitchens)
    store = StoreChoice(frozenset(), "originals")
    source, target = source_segments(recipe, root), target_segments(recipe, root)
    loader = training_loader(recipe, Domains(root=root, source=source, target=target, store=store, lists={}), 1, 0)
    read, times = loader.dataset.dataset.clip_source.read, []

    def keep(segment: Segment, wanted: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        times.append(wanted)
        return read(segment, wanted)

    loader.dataset.dataset.clip_source.read = keep
    next(iter(loader))
    assert len(times) > 10
    assert all(np.array_equal(one["rgb"], one["flow"]) for one in times) == synchronised


def test_short_segments_take_in_what_is_around_them(command, kitchens: Path, tmp_path: Path) -> None:
    root = tmp_path / "kitchens"
    shutil.copytree(kitchens, root)
    plain = command(*RGB, "--data", root, "--out", tmp_path / "plain")
    assert plain.status == 0, plain.err
    shorter = int(re.search(r"48 segments: (\d+) shorter than a clip", plain.err)[1])
    assert shorter > 5
    done = command(*RGB, "data.context=5.0", "--data", root, "--out", tmp_path / "context")
    assert done.status == 0, done.err
    assert f"{shorter} segments shorter than a clip take in what is around them" in done.err
    left = int(re.search(r"48 segments: (\d+) shorter than a clip", done.err)[1])
    assert left < shorter

    assert command("data", "prepare", "--data", root, "--modality", "rgb", "--margin", 0, "--workers", 1).status == 0
    stored = ("data.context=5.0", "data.store=prepared", "--data", root)
    refused = command(*RGB, *stored, "--out", tmp_path / "refused")
    assert refused.status == 2
    assert "the prepared store is not complete" in refused.err
    again = command("data", "prepare", "--data", root, "--modality", "rgb", "--margin", 5, "--workers", 1)
    assert again.status == 0
    read = command(*RGB, *stored, "--out", tmp_path / "read")
    assert read.status == 0, read.err
