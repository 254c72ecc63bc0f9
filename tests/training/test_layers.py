"""Layers by name, learning rates of parts, freezing, and activations that are computed twice."""

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn

from epicsub.errors import TrainingError
from epicsub.models.build import build_model
from epicsub.models.streams import TwoStream
from epicsub.training.count import clip_work
from epicsub.training.layers import (
    Part,
    checkpoint_layers,
    checkpoint_pools,
    freeze,
    layer_depths,
    layer_of,
    parameter_groups,
)


@pytest.fixture(scope="module")
def i3d() -> TwoStream:
    return build_model("i3d", ["rgb", "flow"], weights={"rgb": None, "flow": None}, width=0.0625, dropout=0.5)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("streams.rgb.trunk.Mixed_3b.b1a.conv3d.weight", "streams.rgb.trunk.Mixed_3b"),
        ("streams.rgb.verb_head.weight", "last"),
        ("first.streams.rgb.trunk.Mixed_3b.b1a.conv3d.weight", "first.streams.rgb.trunk.Mixed_3b"),
        ("first.backbone.blocks.3.mlp.fc1.bias", "first.backbone.blocks.3"),
        ("second.rgb.verb_head.weight", "last"),
        ("backbone.layer1.0.conv1.weight", "backbone.layer1.0"),
        ("backbone.conv1.weight", "backbone.conv1"),
        ("backbone.cls_token", "backbone.cls_token"),
        ("streams.rgb.trunk.network.norm.weight", "streams.rgb.trunk.network.norm"),
        ("streams.rgb.trunk.temporal.weight_ih_l0", "last"),
        ("streams.rgb.trunk", "streams.rgb.trunk"),
        ("backbone.blocks.11.attn.qkv.bias", "backbone.blocks.11"),
        ("temporal.weight_ih_l0", "last"),
        ("action_head.linear.bias", "last"),
    ],
)
def test_layers_by_name(name: str, layer: str) -> None:
    assert layer_of(name) == layer


def test_depths_rise_from_the_input_and_streams_stand_side_by_side(i3d: TwoStream) -> None:
    depths = layer_depths(i3d)
    assert depths["streams.rgb.trunk.Conv3d_1a_7x7"] == depths["streams.flow.trunk.Conv3d_1a_7x7"] == 0
    assert depths["streams.rgb.trunk.Mixed_5c"] == depths["streams.flow.trunk.Mixed_5c"] == 11
    assert depths["last"] == 12
    resnet = nn.ModuleDict({"backbone": timm.create_model("resnet18", num_classes=0)})
    assert layer_depths(resnet) == {
        "backbone.conv1": 0, "backbone.bn1": 0, "backbone.layer1.0": 1, "backbone.layer1.1": 2, "backbone.layer2.0": 3,
        "backbone.layer2.1": 4, "backbone.layer3.0": 5, "backbone.layer3.1": 6, "backbone.layer4.0": 7,
        "backbone.layer4.1": 8, "last": 9,
    }  # fmt: skip


def test_all_before_the_first_numbered_block_is_one_layer() -> None:
    with torch.device("meta"):
        vit = nn.ModuleDict({"backbone": timm.create_model("test_vit", num_classes=0)})
        video = [
            build_model(name, ["rgb"], weights={"rgb": None}, variant=variant, frames=8, size=224)
            for name, variant in (("r2plus1d", "18"), ("timesformer", "tiny"))
        ]
    stems = [{name for name, depth in layer_depths(model).items() if depth == 0} for model in (vit, *video)]
    network = "streams.rgb.trunk.network"
    assert stems[0] == {"backbone.cls_token", "backbone.pos_embed", "backbone.patch_embed"}
    assert stems[1] == {f"{network}.stem.{place}" for place in (0, 1, 3, 4)}
    assert stems[2] == {f"{network}.timesformer.embeddings"}
    assert layer_depths(video[0])[f"{network}.layer1.0"] == layer_depths(vit)["backbone.blocks.0"] == 1
    assert layer_depths(video[1])[f"{network}.timesformer.layernorm"] == 3  # after both of its layers


def test_groups_hold_every_parameter_once_with_its_factor(i3d: TwoStream) -> None:
    parts = [Part("streams", 0.5, 0), Part("streams.flow", 0.1, 0)]
    groups = parameter_groups(i3d, parts, 0.5)
    factors = {id(parameter): group["rate_factor"] for group in groups for parameter in group["params"]}
    assert len(factors) == len(list(i3d.parameters())) == sum(len(group["params"]) for group in groups)
    names = dict(i3d.named_parameters())
    assert factors[id(names["streams.rgb.verb_head.weight"])] == 0.5
    assert factors[id(names["streams.flow.trunk.Mixed_5c.b0.conv3d.weight"])] == pytest.approx(0.1 * 0.5)
    assert factors[id(names["streams.rgb.trunk.Conv3d_1a_7x7.conv3d.weight"])] == pytest.approx(0.5 * 0.5**12)


def test_unknown_parts_are_refused_with_those_there_are(i3d: TwoStream) -> None:
    with pytest.raises(TrainingError, match=r"no backbone, stream; it has streams, streams.rgb"):
        parameter_groups(i3d, [Part("backbone", 1.0, 0), Part("streams.rgb", 1.0, 0), Part("stream", 1.0, 0)], 1.0)


def test_frozen_parts_stand_still_for_their_steps() -> None:
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("body", nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    model.add_module("head", nn.Linear(4, 2))
    parts = [Part("body", 1.0, 2), Part("body.1", 1.0, None)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    moved = []
    for step in range(4):
        before = copy.deepcopy(model.state_dict())
        model.train()
        freeze(model, parts, step)
        optimizer.zero_grad()
        model(torch.randn(6, 3)).square().sum().backward()
        optimizer.step()
        moved.append({name for name, value in model.state_dict().items() if not torch.equal(value, before[name])})
    head = {"head.weight", "head.bias"}
    assert moved == [head, head, head | {"body.0.weight", "body.0.bias"}, head | {"body.0.weight", "body.0.bias"}]


def test_freezing_parts_leaves_what_the_model_froze_itself() -> None:
    model = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    model["body"].bias.requires_grad_(False)
    model["head"].bias.requires_grad_(False)
    trained = []
    for step in (0, 1):
        freeze(model, [Part("body", 1.0, 1)], step)
        trained.append([name for name, parameter in model.named_parameters() if parameter.requires_grad])
    assert trained == [["head.weight"], ["body.weight", "head.weight"]]


@pytest.mark.parametrize(("steps", "text"), [(None, "for the whole run"), (1, "in the first 1 step")])
def test_parts_that_leave_nothing_to_train_are_refused(i3d: TwoStream, steps: int | None, text: str) -> None:
    parts = [Part("streams.rgb", 0.5, None), Part("streams.flow", 1.0, steps)]
    with pytest.raises(TrainingError, match=f"streams.rgb, streams.flow freeze the whole model {text}: nothing"):
        parameter_groups(i3d, parts, 1.0)
    parameter_groups(i3d, [*parts, Part("streams.flow.verb_head", 1.0, 0)], 1.0)


@pytest.mark.parametrize(("change", "count"), [(checkpoint_layers, 24), (checkpoint_pools, 26)])
def test_checkpointed_layers_train_to_the_bit_as_plain_ones(i3d: TwoStream, change: Callable, count: int) -> None:
    clips = {
        name: torch.randint(256, (2, channels, 9, 32, 32), dtype=torch.uint8)
        for name, channels in (("rgb", 3), ("flow", 2))
    }
    ends = []
    for twice in (False, True):
        model = copy.deepcopy(i3d).train()
        if twice:
            assert change(model) == count
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(2):
            torch.manual_seed(step)
            output = model(clips)
            (output.verb_logits_BV.square().sum() + output.noun_logits_BN.sum()).backward()
            optimizer.step()
        ends.append(model.state_dict())
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


@pytest.mark.parametrize(("change", "share"), [(checkpoint_layers, 0.5), (checkpoint_pools, 0.75)])
def test_checkpointed_layers_hold_less(change: Callable, share: float) -> None:
    """Counted by what autograd saves for the backward pass."""
    clips = {
        "rgb": torch.zeros(1, 3, 16, 224, 224, device="meta"),
        "flow": torch.zeros(1, 2, 16, 224, 224, device="meta"),
    }
    saved = []
    for twice in (False, True):
        with torch.device("meta"):
            model = build_model("i3d", ["rgb", "flow"], weights={"rgb": None, "flow": None}).train()
        if twice:
            change(model)
        saved.append(clip_work(model, clips).kept)
    assert saved[1] < share * saved[0]
