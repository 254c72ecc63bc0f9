"""One sweep over every model of the table, at tiny settings."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.models.build import build_model
from epicsub.models.table import MODELS

TINY: dict[str, dict[str, Any]] = {
    "i3d": {"modalities": ["rgb", "flow"], "weights": {"rgb": None, "flow": None}, "width": 0.125},
    "frame_mean": {"modalities": ["rgb", "flow"], "weights": None, "backbone": "test_convnext"},
    "frame_lstm": {"modalities": ["rgb", "flow"], "weights": None, "backbone": "test_resnet", "hidden": 8},
    "frame_transformer": {
        "modalities": ["rgb"],
        "weights": None,
        "backbone": "test_efficientnet",
        "frames": 12,
        "layers": 1,
    },
    "frame_multiscale": {"modalities": ["rgb"], "weights": None, "backbone": "test_resnet", "hidden": 8},
    **{
        name: {
            "modalities": ["rgb", "flow"],
            "weights": {"rgb": None, "flow": None},
            "variant": "tiny",
            "frames": 12,
            "size": 64,
        }
        for name, row in MODELS.items()
        if row.variants
    },
    "temporal_relations": {"modalities": ["audio"], "dims": {"audio": 6}, "shared": 8, "hidden": 8},
    "feature_heads": {"modalities": ["audio"], "dims": {"audio": 6}, "bottleneck": 5, "batch_norm": True},
    "context": {"modalities": ["audio"], "dims": {"audio": 6}, "window": 7, "width": 16, "position": "index"},
}
FEATURES = {"audio": (7, 6)}
CHANNELS = {"rgb": 3, "flow": 2}


def build(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return build_model(name, **TINY[name])


def batch(modalities: tuple[str, ...], B: int = 3, H: int = 64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    features = {name: torch.randn(B, *FEATURES[name], generator=generator) for name in modalities if name in FEATURES}
    return features | {
        name: torch.randint(0, 256, (B, CHANNELS[name], 12, H, H), dtype=torch.uint8, generator=generator)
        for name in modalities
        if name in CHANNELS
    }


def learnt(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Parameters without those that TA3N alone trains, and without frozen ones."""
    return [(name, p) for name, p in model.named_parameters() if "relation_domains" not in name and p.requires_grad]


def test_every_model_is_swept() -> None:
    assert set(TINY) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_shapes_and_finite_values(name: str) -> None:
    model = build(name).eval()
    assert set(model.modalities) == set(TINY[name]["modalities"])
    assert set(model.feature_dims) == ({"verb", "noun"} if name == "context" else set(model.modalities))
    for B in (1, 3):
        with torch.no_grad():
            output = model(batch(model.modalities, B))
        assert output.verb_logits_BV.shape == (B, 97)
        assert output.noun_logits_BN.shape == (B, 300)
        assert {m: tuple(f.shape) for m, f in output.features.items()} == {
            m: (B, dim) for m, dim in model.feature_dims.items()
        }
        for tensor in (output.verb_logits_BV, output.noun_logits_BN, *output.features.values()):
            assert tensor.dtype == torch.float32
            assert torch.isfinite(tensor).all()


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = build(name).train()
    for parameter in model.parameters():  # timm starts the last norm of a block at zero, which blocks the branch
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    output = model(batch(model.modalities))
    (output.verb_logits_BV.logsumexp(1).sum() + output.noun_logits_BN.logsumexp(1).sum()).backward()
    without = [n for n, p in learnt(model) if p.grad is None or not p.grad.any()]
    assert not without
    assert all(torch.isfinite(p.grad).all() for _, p in learnt(model))


@pytest.mark.parametrize("name", MODELS)
def test_features_carry_gradients_to_the_backbone(name: str) -> None:
    """The alignment loss reaches the model through the features alone, and never the heads."""
    model = build(name).train()
    output = model(batch(model.modalities))
    sum(f.square().sum() for f in output.features.values()).backward()
    heads = {n for n, p in learnt(model) if p.grad is None}
    assert heads == {n for n, _ in model.named_parameters() if "verb_head" in n or "noun_head" in n}


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_is_deterministic_and_keeps_clips_apart(name: str) -> None:
    model = build(name).eval()
    clips = batch(model.modalities)
    with torch.no_grad():
        first, again = model(clips), model(clips)
        alone = model({m: x[1:2] for m, x in clips.items()})
    assert torch.equal(first.verb_logits_BV, again.verb_logits_BV)
    torch.testing.assert_close(alone.verb_logits_BV, first.verb_logits_BV[1:2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_state_dict_round_trip(name: str) -> None:
    model, other = build(name).train(), build(name, seed=1)
    clips = batch(model.modalities)
    model(clips)  # moves the running statistics
    assert not same(model, other)
    other.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(model.eval()(clips).noun_logits_BN, other.eval()(clips).noun_logits_BN)


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_unknown_settings_are_not_swallowed(name: str) -> None:
    with pytest.raises(TypeError, match="widht"):
        build_model(name, **TINY[name], widht=0.5)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_says_the_same(name: str) -> None:
    """Within 0.06 of the logits' spread; the largest difference seen at these sizes is 0.037 (mvit_v2)."""
    model = build(name).eval()
    clips = batch(model.modalities)
    with torch.no_grad():
        full = model(clips)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(clips)
    for one, other in ((full.verb_logits_BV, half.verb_logits_BV), (full.noun_logits_BN, half.noun_logits_BN)):
        assert (one - other.float()).abs().max() < 0.06 * one.std()


@pytest.mark.parametrize("name", MODELS)
def test_exports_with_equal_logits(name: str) -> None:
    model = build(name).eval()
    clips = batch(model.modalities, 2)
    exported = torch.export.export(model, (clips,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(clips)[0], model(clips).verb_logits_BV, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"temporal_relations", "feature_heads", "context"}))
def test_heads_of_another_size(name: str) -> None:
    """A new head reads the same features: what fine-tuning on other classes needs."""
    model = build(name).eval()
    for modality, dim in model.feature_dims.items():
        model.stream(modality).verb_head = nn.Linear(dim, 8)
    with torch.no_grad():
        output = model(batch(model.modalities, 2))
    assert output.verb_logits_BV.shape == (2, 8)
    assert output.noun_logits_BN.shape == (2, 300)


def test_weights_have_no_default() -> None:
    with pytest.raises(TypeError, match="weights"):
        build_model("i3d", ["rgb"], width=0.125)


def test_wrong_combinations_are_refused() -> None:
    with pytest.raises(ModelError, match="no such model; there are i3d, frame_mean, frame_lstm"):
        build_model("i3dd", ["rgb"])
    with pytest.raises(ModelError, match="name each one"):
        build_model("i3d", ["rgb", "flow"], weights={"rgb": None}, width=0.125)
    with pytest.raises(ModelError, match="i3d_flow_imagenet are for flow, not for the rgb stream"):
        build_model("i3d", ["rgb"], weights={"rgb": "i3d_flow_imagenet"})
    with pytest.raises(ModelError, match=r"are for width 1\.0, not 0\.5"):
        build_model("i3d", ["rgb"], weights={"rgb": "i3d_rgb_imagenet"}, width=0.5)
    video = {"weights": {"rgb": None}, "frames": 16, "size": 64, "variant": "tiny"}
    for name, wrong, message in (
        (
            "slowfast",
            {"frames": 18},
            "slowfast needs a multiple of 4 frames, got 18: it shares them between",
        ),
        ("slowfast", {"frames": 4}, "slowfast needs at least 8 frames, got 4"),
        ("mvit_v2", {"size": 72}, "mvit_v2 needs a multiple of 32 pixels, got 72"),
        ("videomae", {"frames": 15, "size": 65}, "a multiple of 2 frames, got 15 and a multiple of 16 pixels, got 65"),
        ("i3d_r50", {"frames": 1}, "i3d_r50 needs at least 2 frames, got 1: it pools every two frames"),
        ("timesformer", {"size": 70}, "timesformer needs a multiple of 16 pixels, got 70"),
        ("x3d", {"drop_path": 0.1}, "x3d has no stochastic depth"),
        ("x3d", {"weights": {"rgb": "x3d_m_kinetics"}}, "x3d_m_kinetics are for x3d m, not for x3d tiny"),
        ("x3d", {"weights": {"flow": None}}, "name each one"),
    ):
        with pytest.raises(ModelError, match=message):
            build_model(name, ["rgb"], **video | wrong)
    with pytest.raises(ModelError, match="has no stochastic depth"):
        build_model("frame_mean", ["rgb"], backbone="vgg11", weights=None, drop_path=0.1)


def test_without_load_weights_no_file_is_looked_for() -> None:
    """A checkpoint's weights follow: predicting needs no published file."""
    model = build_model("i3d", ["rgb"], load_weights=False, weights={"rgb": "nowhere/at_all.pt"}, width=0.0625)
    with pytest.raises(ModelError, match="no such file"):
        build_model("i3d", ["rgb"], weights={"rgb": "nowhere/at_all.pt"}, width=0.0625)
    assert model.feature_dims == {"rgb": 64}


def test_running_statistics_move_at_the_given_pace() -> None:
    for settings, expected in (({}, 0.01), ({"bn_momentum": 0.2}, 0.2)):
        model = build_model("i3d", ["rgb", "flow"], weights={"rgb": None, "flow": None}, width=0.0625, **settings)
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm3d)]
        assert [norm.momentum for norm in norms] == [expected] * 57 * 2
