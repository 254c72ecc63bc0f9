"""Held-out videos and fixed items of pre-training by order, and weights that every trunk takes."""

from pathlib import Path

import pytest
import torch

from epicsub.data.features.store import FeatureStore
from epicsub.data.root import DataRoot
from epicsub.models.build import build_model
from epicsub.pretext.network import OrderNetwork
from epicsub.recipe import load_recipe
from epicsub.synth import SynthSettings, make_kitchens
from epicsub.training.layers import batch_norms
from epicsub.training.order_items import hold_out, read_items
from epicsub.training.order_state import build_order_state, check, shuffle_of, tasks_of
from epicsub.training.preflight import prepare
from epicsub.training.processes import make_fabric
from epicsub.training.provenance import features_provenance, merge_provenance, read_provenance, write_trunk

CHANGES = [
    "data.workers=0", "data.size=32", "data.short_side=36", "model.width=0.0625", "pretext.items=24",
    "pretext.held_out=2", "train.stages.0.source_batch=4", "train.stages.1.source_batch=4",
    "data.target=[EPIC_100_validation.csv]",
]  # fmt: skip
PROVENANCE = {
    "pretext": "order",
    "lists": {"a.csv": "1"},
    "videos": ["P01_01"],
    "levels": {"pretraining": 3, "data": 3},
}


def test_held_out_videos_are_whole_and_items_and_statistics_stay(tmp_path: Path, repository: Path) -> None:
    make_kitchens(tmp_path / "k", SynthSettings(seed=0, train=36, heldout=12, validation=24, test=12), workers=0)
    loaded = load_recipe(repository / "recipes/tiny/order_i3d.yaml", CHANGES)
    recipe, domains = loaded.recipe, prepare(loaded, DataRoot(tmp_path / "k"), tmp_path / "run", writes=False)
    held = hold_out(domains.target, 2)
    assert {segment.video_id for part in held.train for segment in part}.isdisjoint(held.videos)
    assert sum(map(len, held.train)) + len(held.items) == len(domains.target_segments)
    assert {segment.verb_class for segment in domains.target_segments} == {None}

    fabric, tasks, shuffle = make_fabric(recipe.train, 1), tasks_of(recipe), shuffle_of(recipe)
    items, again = (read_items(recipe, domains, held, tasks, shuffle) for _ in range(2))
    assert torch.equal(items.clips["rgb"], again.clips["rgb"])
    for task in tasks:
        assert torch.equal(items.draws[task.name].order_Bn, again.draws[task.name].order_Bn)
        counts = items.draws[task.name].label_B.bincount(minlength=len(task.orders_Nn))
        assert counts.tolist() == [24 // len(task.orders_Nn)] * len(task.orders_Nn)  # classes even

    state = build_order_state(recipe, fabric, None)
    state.model.train()
    before = [buffer.clone() for layer in batch_norms(state.model) for buffer in layer.buffers()]
    found = check(fabric, recipe, state, items)
    after = [buffer for layer in batch_norms(state.model) for buffer in layer.buffers()]
    assert before
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert check(fabric, recipe, state, items) == found


MODELS = {
    "i3d": {"name": "i3d", "width": 0.0625, "weights": {"rgb": None}},
    "frame_lstm": {"name": "frame_lstm", "backbone": "test_convnext", "hidden": 8, "weights": None},
    "x3d": {"name": "x3d", "variant": "tiny", "weights": {"rgb": None}, "frames": 16, "size": 64},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_trunk_takes_its_weights_strictly(name: str, tmp_path: Path, repository: Path) -> None:
    tasks = tasks_of(load_recipe(repository / "recipes/tiny/order_i3d.yaml").recipe)
    torch.manual_seed(0)
    network = OrderNetwork(build_model(modalities=["rgb"], **MODELS[name]), tasks, "joint")  # type: ignore[arg-type]
    path = tmp_path / "rgb.safetensors"
    write_trunk(path, network.weights_of("rgb"), PROVENANCE)
    first = path.read_bytes()
    write_trunk(path, network.weights_of("rgb"), PROVENANCE)
    assert path.read_bytes() == first
    weights = {"rgb": str(path)} if isinstance(MODELS[name]["weights"], dict) else str(path)
    torch.manual_seed(1)
    loaded = OrderNetwork(build_model(modalities=["rgb"], **MODELS[name] | {"weights": weights}), tasks, "joint")  # type: ignore[arg-type]
    own, other = network.weights_of("rgb"), loaded.weights_of("rgb")
    assert all(torch.equal(own[key], other[key]) for key in own | other)
    assert read_provenance(path) == PROVENANCE


def test_features_of_such_weights_carry_what_these_have_seen(tmp_path: Path, repository: Path) -> None:
    FeatureStore(tmp_path / "features/seen", {"model": "a", "initial": PROVENANCE}).add(
        ["x"], {"rgb": torch.ones(1, 4)}
    )
    FeatureStore(tmp_path / "features/none", {"model": "a"}).add(["x"], {"flow": torch.ones(1, 4)})
    places = "data.features={rgb: features/seen, flow: features/none}"
    recipe = load_recipe(repository / "recipes/tiny/features_source_only.yaml", [places]).recipe
    assert features_provenance(recipe, DataRoot(tmp_path)) == PROVENANCE


def test_what_several_weights_have_seen_is_joined() -> None:
    other = {**PROVENANCE, "lists": {"b.csv": "2"}, "videos": ["P02_01"], "levels": {"pretraining": 4, "data": 4}}
    joined = merge_provenance([PROVENANCE, {}, other])
    assert set(joined["lists"]) == {"a.csv", "b.csv"}
    assert joined["videos"] == ["P01_01", "P02_01"]
    assert joined["levels"] == {"pretraining": 4, "data": 4}
    assert merge_provenance([{}, {}]) == {}
