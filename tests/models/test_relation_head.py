"""Relations on every trunk with a map, against pieces written out again."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from epicsub.errors import ModelError
from epicsub.models.build import build_model
from epicsub.models.heads import ALL_CLASSES, Classes
from epicsub.models.maps import MAPS, STRIDE
from epicsub.models.relation_head import RelationHead, Relations, geometry_of
from epicsub.models.streams import TwoStream
from epicsub.slots import BOXES, ENTRIES, PRESENT, SLOTS, Slots

FRAMES, SIDE = 16, 64
VIDEO: dict[str, Any] = {"variant": "tiny", "weights": {"rgb": None}, "frames": FRAMES, "size": SIDE}
FRAME: dict[str, Any] = {"weights": None}
TRUNKS: dict[str, dict[str, Any]] = {
    "i3d": {"weights": {"rgb": None}, "width": 0.125},
    "slowfast": VIDEO,
    "x3d": VIDEO,
    "i3d_r50": VIDEO,
    "frame_mean": FRAME | {"backbone": "test_convnext"},
    "frame_lstm": FRAME | {"backbone": "test_resnet", "hidden": 8},
    "frame_transformer": FRAME | {"backbone": "test_efficientnet", "frames": FRAMES, "layers": 1},
    "frame_multiscale": FRAME | {"backbone": "regnetx_002", "hidden": 8},
}
ACRN = {"head": "acrn"}


def boxes(B: int, T: int, seed: int = 0, absent: tuple[int, ...] = ()) -> Tensor:
    """Slots of B clips: most have a box, those of the clips `absent` have none."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.rand(2, B, T, len(SLOTS), 2, generator=generator)
    corners = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=-1)
    rest = torch.rand(B, T, len(SLOTS), ENTRIES - 4, generator=generator)
    out = torch.cat([corners, rest], dim=-1)
    out[..., PRESENT] = 1.0
    out *= torch.rand(B, T, len(SLOTS), 1, generator=generator) > 0.3
    out[list(absent)] = 0.0
    return out


def clips_of(name: str, B: int = 3, absent: tuple[int, ...] = ()) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    rgb = torch.randint(0, 256, (B, 3, FRAMES, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    return {"rgb": rgb, BOXES: boxes(B, MAPS[name].slices(FRAMES), absent=absent)}


def build(
    name: str, relations: dict[str, Any] | None, modalities: tuple[str, ...] = ("rgb",), **more: Any
) -> TwoStream:
    torch.manual_seed(0)
    model = build_model(name, modalities, relations=relations, **{**TRUNKS[name], **more})
    assert isinstance(model, TwoStream)
    return model


def awake(model: TwoStream) -> TwoStream:
    """With last layers that are not zero any more."""
    assert model.relation_head is not None
    for head in (model.relation_head.verb_head, model.relation_head.noun_head):
        nn.init.normal_(head.weight, std=0.3)
        nn.init.normal_(head.bias)
    return model


def test_every_map_is_swept() -> None:
    assert set(TRUNKS) == set(MAPS)


@pytest.mark.parametrize(("name", "relations"), [*((name, {}) for name in TRUNKS), ("slowfast", ACRN)])
def test_the_global_head_is_where_relations_start_and_what_is_left_without_boxes(
    name: str, relations: dict[str, Any]
) -> None:
    model = build(name, relations or {"hidden": 16}).eval()
    alone = build(name, relations or None)  # the stage of acrn's trunk has another stride
    state = alone.state_dict()
    alone.load_state_dict({key: value for key, value in model.state_dict().items() if key in state}, strict=True)
    clips = clips_of(name, absent=(1,))
    with torch.no_grad():
        output = model(clips)
        alone.eval()
        features = {"rgb": alone.stream("rgb").features(clips["rgb"])}
        verb, noun = alone.classify(features)
        assert torch.equal(output.features["rgb"], features["rgb"])
        assert torch.equal(output.verb_logits_BV, verb)
        assert torch.equal(output.noun_logits_BN, noun)
        other = awake(model)(clips)
    assert torch.isfinite(other.verb_logits_BV).all()
    assert torch.isfinite(other.noun_logits_BN).all()
    assert torch.equal(other.verb_logits_BV[1], verb[1])  # to the byte, and nothing else of the batch reaches it
    assert torch.equal(other.noun_logits_BN[1], noun[1])
    assert not torch.equal(other.verb_logits_BV[0], verb[0])
    assert not torch.equal(other.noun_logits_BN[2], noun[2])


@pytest.mark.parametrize(("name", "relations"), [*((name, {"hidden": 16}) for name in TRUNKS), ("slowfast", ACRN)])
def test_every_weight_of_the_head_and_the_map_s_trunk_get_a_gradient(name: str, relations: dict[str, Any]) -> None:
    model = awake(build(name, relations | {"drop": 0.0})).train()
    output, related = model.related(clips_of(name))
    assert output.verb_logits_BV.shape == (3, 97)
    related.verb_logits_BV.square().sum().add(related.noun_logits_BN.square().sum()).backward()
    assert model.relation_head is not None
    without = [n for n, p in model.relation_head.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.stream("rgb").trunk.parameters())


def test_no_box_in_a_batch_moves_no_statistics_and_every_weight_waits_for_none() -> None:
    model = awake(build("i3d", {"hidden": 16})).train()
    assert model.relation_head is not None
    before = {name: value.clone() for name, value in model.relation_head.named_buffers()}
    output = model(clips_of("i3d", absent=(0, 1, 2)))
    (output.verb_logits_BV.sum() + output.noun_logits_BN.sum()).backward()
    assert all(torch.equal(before[name], value) for name, value in model.relation_head.named_buffers())
    assert all(p.grad is not None and not p.grad.any() for p in model.relation_head.parameters())


def test_absent_slots_are_outside_the_batch_norms() -> None:
    """Other clips without boxes beside it change nothing of what a clip's batch norms see."""
    torch.manual_seed(0)
    head = RelationHead(8, Relations(hidden=16, drop=0.0), ALL_CLASSES).train()
    map_BCTHW = torch.randn(2, 8, 4, 4, 4)
    with torch.no_grad():
        one = head(map_BCTHW[:1], boxes(1, 4), (64, 64))
        mean = head.rows.norm1.running_mean.clone()  # type: ignore[union-attr, operator]
        head.load_state_dict(head.state_dict())
        head.rows.norm1.reset_running_stats()  # type: ignore[union-attr, operator]
        both = head(map_BCTHW, torch.cat([boxes(1, 4), torch.zeros(1, 4, 6, ENTRIES)]), (64, 64))
    torch.testing.assert_close(both.rows_BSD[:1], one.rows_BSD)
    torch.testing.assert_close(head.rows.norm1.running_mean, mean)  # type: ignore[union-attr]


def test_pairs_are_the_convolution_of_the_concatenation() -> None:
    torch.manual_seed(0)
    C, hidden, T = 12, 16, 4
    head = RelationHead(C, Relations(hidden=hidden), ALL_CLASSES).eval()
    rows = head.rows
    map_BCTHW, slots = torch.randn(2, C, T, 5, 5), Slots.of(boxes(2, T))
    with torch.no_grad():
        got = rows.pairs(map_BCTHW, slots, (80, 80))  # type: ignore[operator]
        weight = torch.cat([rows.context.weight.flatten(1), rows.actor.weight], dim=1)[..., None, None]  # type: ignore
        geometry = geometry_of(slots)
        for b in range(2):
            for s in range(len(SLOTS)):
                seen = [t for t in range(T) if slots.present_BTS[b, t, s]]
                actor = torch.zeros(C)
                for t in seen:
                    pixels = slots.corners_BTS4[b, t, s][None] * 80
                    actor += roi_align(map_BCTHW[b, :, t][None], [pixels], 7, 1 / STRIDE, 2, True)[0].amax((1, 2))
                tile = (actor / max(len(seen), 1))[:, None, None].expand(-1, 5, 5)
                built = torch.cat([map_BCTHW[b].mean(dim=1), tile])[None]
                expected = F.conv2d(built, weight)[0]
                expected = expected + (rows.slot[s] + rows.geometry(geometry[b, s]))[:, None, None]  # type: ignore
                torch.testing.assert_close(got[b, s], expected, atol=1e-5, rtol=1e-5)


def test_parameters_are_those_of_the_specification() -> None:
    head = RelationHead(832, Relations(), ALL_CLASSES)
    assert sum(p.numel() for p in head.parameters()) == 1_138_319


def test_exchanging_the_two_other_objects_changes_nothing() -> None:
    torch.manual_seed(0)
    head = RelationHead(8, Relations(hidden=16), ALL_CLASSES).eval()
    nn.init.normal_(head.noun_head.weight)
    with torch.no_grad():
        head.rows.slot[5] = head.rows.slot[4]  # type: ignore[index]
        map_BCTHW, slots = torch.randn(3, 8, 4, 4, 4), boxes(3, 4)
        one = head(map_BCTHW, slots, (64, 64))
        two = head(map_BCTHW, slots[:, :, [0, 1, 2, 3, 5, 4]], (64, 64))
    torch.testing.assert_close(one.noun_logits_BN, two.noun_logits_BN)
    assert one.noun_logits_BN.any()


def test_verbs_come_from_hands_and_what_they_hold_and_nouns_from_objects_else_hands() -> None:
    torch.manual_seed(0)
    head = RelationHead(8, Relations(hidden=16), ALL_CLASSES).eval()
    slots = boxes(4, 4, seed=3)
    slots[..., PRESENT], slots[..., :4] = 1.0, torch.tensor([0.2, 0.2, 0.7, 0.7])
    for clip, kept in enumerate(([0, 1], [4, 5], [0, 2, 5], [])):
        slots[clip, :, [slot for slot in range(6) if slot not in kept]] = 0.0
    with torch.no_grad():
        found = head(torch.randn(4, 8, 4, 4, 4), slots, (64, 64))
    verb, noun = (weights.gt(0).int().tolist() for weights in (found.verb_weights_BS, found.noun_weights_BS))
    assert verb == [[1, 1, 0, 0, 0, 0], [0] * 6, [1, 0, 1, 0, 0, 0], [0] * 6]
    assert noun == [[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1], [0, 0, 1, 0, 0, 1], [0] * 6]
    assert found.verb_B.tolist() == [True, False, True, False]
    assert found.noun_B.tolist() == [True, True, True, False]
    regions = found.regions()
    assert [regions[name][:, -1].tolist() for name in ("hands", "objects")] == [[1, 0, 1, 0], [0, 1, 1, 0]]
    torch.testing.assert_close(regions["objects"][2, :-1], found.rows_BSD[2, [2, 5]].mean(dim=0))
    assert not regions["hands"][1].any()


def test_published_acrn_head_built_slowly() -> None:
    """ctx averaged over time, RoIAlign 8x8 and its maximum tiled on ctx, two convolutions, spatial maximum, FC."""
    torch.manual_seed(0)
    C = 10
    head = awake_head(RelationHead(C, Relations(head="acrn", drop=0.0, dropout=0.0), ALL_CLASSES)).train()
    map_BCTHW = torch.randn(3, C, 2, 16, 16)
    slots = torch.zeros(3, 2, 6, ENTRIES)
    for clip, slot, corners in (
        (0, 0, (0.1, 0.2, 0.6, 0.9)),
        (1, 2, (0.0, 0.0, 0.2, 0.3)),
        (2, 3, (0.5, 0.4, 1.0, 0.7)),
    ):
        slots[clip, 0, slot, :4], slots[clip, 0, slot, PRESENT] = torch.tensor(corners), 1.0
    got = head(map_BCTHW, slots, (256, 256))
    rows = head.rows
    context = torch.stack([map_BCTHW[:, :, t] for t in range(2)]).sum(dim=0)[:, :, None] / 2
    built = []
    for clip, slot in enumerate((0, 2, 3)):
        pixels = slots[clip, 0, slot, :4][None] * 256
        region = roi_align(context[clip].transpose(0, 1), [pixels], 8, 1 / 16, -1, True)[0]
        most = region.flatten(1).max(dim=1).values
        tile = most[:, None, None, None].repeat(1, 1, 16, 16)
        built.append(torch.cat([tile, context[clip]], dim=0))
    norm1, norm2 = (nn.BatchNorm3d(C).train() for _ in range(2))
    y = F.relu(norm1(F.conv3d(torch.stack(built), rows.conv1.weight)))  # type: ignore[union-attr, arg-type]
    y = F.relu(norm2(F.conv3d(y, rows.conv2.weight, padding=(0, 1, 1))))  # type: ignore[union-attr, arg-type]
    pooled = y.flatten(2).max(dim=2).values
    torch.testing.assert_close(got.verb_logits_BV, head.verb_head(pooled), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(got.noun_logits_BN, head.noun_head(pooled), atol=2e-5, rtol=1e-5)


def awake_head(head: RelationHead) -> RelationHead:
    for linear in (head.verb_head, head.noun_head):
        nn.init.normal_(linear.weight, std=0.3)
    return head


def test_slowfast_for_acrn_keeps_the_published_weights_and_a_sixteenth_of_the_picture() -> None:
    plain, dense = build("slowfast", None), build("slowfast", ACRN)
    shapes = {name: value.shape for name, value in plain.stream("rgb").state_dict().items()}
    assert {name: value.shape for name, value in dense.stream("rgb").state_dict().items()} == shapes
    with torch.no_grad():
        _, map_BCTHW = dense.eval().stream("rgb").features_and_map(clips_of("slowfast")["rgb"])
    assert map_BCTHW.shape == (3, dense.stream("rgb").trunk.map_channels, FRAMES // 4, SIDE // 16, SIDE // 16)


def test_a_training_clip_may_be_shown_without_its_boxes() -> None:
    torch.manual_seed(0)
    head = RelationHead(8, Relations(hidden=16, drop=0.5), ALL_CLASSES)
    slots = boxes(40, 4)
    map_BCTHW = torch.randn(40, 8, 4, 4, 4)
    with torch.no_grad():
        kept = head.train()(map_BCTHW, slots, (64, 64)).noun_B
        everywhere = head.eval()(map_BCTHW, slots, (64, 64)).noun_B
    assert 8 <= int(kept.sum()) <= 32
    assert everywhere.all()


def test_masked_classes_stay_at_the_lowest_logit() -> None:
    torch.manual_seed(0)
    classes = Classes(verbs=[1, 4], nouns=False)
    model = awake(
        build_model("i3d", ("rgb",), relations={"hidden": 16}, classes=classes, weights={"rgb": None}, width=0.125)
    ).eval()
    with torch.no_grad():
        output = model(clips_of("i3d"))
    probability = output.verb_logits_BV.softmax(dim=1)
    assert set(probability.nonzero()[:, 1].tolist()) == {1, 4}
    assert not output.noun_logits_BN.any()


@pytest.mark.parametrize(
    ("name", "relations", "more", "message"),
    [
        ("r2plus1d", {}, {}, "this trunk has none"),
        ("i3d_r50", ACRN, {}, "acrn is made for slowfast, not for i3d_r50"),
        ("i3d", {"stream": "flow"}, {}, "relations are of stream flow; there are rgb"),
    ],
)
def test_relations_that_do_not_fit_are_refused(
    name: str, relations: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        build_model(name, ("rgb",), relations=relations, **TRUNKS.get(name, VIDEO), **more)


def test_boxes_of_other_times_or_none_are_refused() -> None:
    model = build("i3d", {"hidden": 16})
    clips = clips_of("i3d")
    with pytest.raises(ModelError, match=r"data.boxes.slices must be 4"):
        model(clips | {BOXES: boxes(3, 8)})
    with pytest.raises(ModelError, match="the batch lacks boxes"):
        model({"rgb": clips["rgb"]})


@pytest.mark.parametrize("relations", [{"hidden": 16}, ACRN])
def test_a_model_without_memory_is_counted_with_every_slot(relations: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = build("slowfast", relations)
    clips = {name: clip.to("meta") for name, clip in clips_of("slowfast").items()}
    assert model(clips).noun_logits_BN.shape == (3, 300)


def test_a_stream_that_is_cut_from_rgb_takes_its_weights_and_gets_its_own_trunk() -> None:
    weights = {"rgb": "i3d_rgb_imagenet", "hand_crop": "i3d_rgb_imagenet"}
    model = build_model("i3d", ("rgb", "hand_crop"), load_weights=False, weights=weights)
    assert model.stream("rgb").trunk is not model.stream("hand_crop").trunk
    with pytest.raises(ModelError, match="are for flow, not for the hand_crop stream"):
        build_model("i3d", ("hand_crop",), load_weights=False, weights={"hand_crop": "i3d_flow_imagenet"})
