"""Frame models, and checkpoints of the group's first model."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from epicsub.errors import ModelError
from epicsub.models.build import build_model
from epicsub.models.frames import BiLSTM, MultiScaleLSTM, TemporalTransformer, build_backbone
from epicsub.models.published import load_action_model
from epicsub.models.streams import TwoStream


class ActionModel(nn.Module):
    """The group's first model as its users describe it; checkpoints of it exist."""

    def __init__(self, hidden: int = 1024) -> None:
        super().__init__()
        self.backbone = resnet50()
        self.backbone.fc = nn.Identity()
        self.temporal = nn.LSTM(2048, hidden, 2, batch_first=True, bidirectional=True, dropout=0.3)
        self.verb_head = nn.Linear(2 * hidden, 97)
        self.noun_head = nn.Linear(2 * hidden, 300)

    def forward(self, x_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(x_BTCHW.flatten(0, 1)).unflatten(0, x_BTCHW.shape[:2])
        pooled = self.temporal(features)[0].mean(dim=1)
        return self.verb_head(pooled), self.noun_head(pooled)


def lstm(hidden: int = 4, backbone: str = "test_resnet") -> TwoStream:
    made = build_model("frame_lstm", ["rgb"], backbone=backbone, weights=None, hidden=hidden)
    assert isinstance(made, TwoStream)
    return made


def test_tensors_are_those_of_the_first_model() -> None:
    with torch.device("meta"):
        first, model = ActionModel().state_dict(), lstm(1024, "resnet50").state_dict()
    own = {name: tuple(value.shape) for name, value in model.items() if "normalise" not in name}
    assert sorted(own.values()) == sorted(tuple(value.shape) for value in first.values())
    assert {n.split(".trunk.")[-1].removeprefix("streams.rgb.") for n in own} == set(first)


@pytest.mark.parametrize("frames", [16, 32])
def test_its_checkpoints_give_its_logits(tmp_path: Path, frames: int) -> None:
    torch.manual_seed(0)
    first = ActionModel(hidden=8).eval()
    parallel = {f"module.{name}": value for name, value in first.state_dict().items()}
    torch.save({"epoch": 3, "model_state_dict": parallel}, tmp_path / "best_model.pth")
    model = lstm(8, "resnet50").eval()
    load_action_model(model, tmp_path / "best_model.pth")
    clip_BCTHW = torch.randint(0, 256, (1, 3, frames, 32, 32), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (clip_BCTHW.transpose(1, 2) / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        output, (verb, noun) = model({"rgb": clip_BCTHW}), first(normalised)
    torch.testing.assert_close(output.verb_logits_BV, verb, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.noun_logits_BN, noun, atol=1e-4, rtol=1e-4)


def test_what_is_no_checkpoint_of_it_is_refused(tmp_path: Path) -> None:
    model, path = lstm(), tmp_path / "x.pth"
    torch.save({"epoch": 3}, path)
    with pytest.raises(ModelError, match=r"holds more than tensors \(epoch\)"):
        load_action_model(model, path)
    torch.save({"state_dict": {"backbone.conv1.weight": torch.zeros(2)}}, path)
    with pytest.raises(ModelError, match="does not fit the model; nothing was loaded"):
        load_action_model(model, path)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="is a text that begins with 'nothing'"):
        load_action_model(model, path)


def test_normalisation_is_the_backbones_own() -> None:
    with torch.device("meta"):
        published = build_backbone("resnet50").pretrained_cfg
    assert (published["mean"], published["std"]) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    normalise = lstm().stream("rgb").normalise  # published for 0.5, 0.5
    torch.testing.assert_close(normalise.mean, torch.full((3,), 127.5))
    torch.testing.assert_close(normalise.std, torch.full((3,), 127.5))


def test_output_equals_frames_one_by_one() -> None:
    torch.manual_seed(0)
    model = lstm(6).eval()
    stream = model.stream("rgb")
    clip_BCTHW = torch.randint(0, 256, (2, 3, 5, 48, 40), dtype=torch.uint8)
    with torch.no_grad():
        output = model({"rgb": clip_BCTHW})
        for b in range(2):
            frames = [stream.trunk.backbone(clip_BCTHW[b : b + 1, :, t].float() / 127.5 - 1) for t in range(5)]
            pooled = bidirectional(stream.trunk.temporal, torch.cat(frames)).mean(dim=0)
            torch.testing.assert_close(output.features["rgb"][b], pooled, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(output.verb_logits_BV[b], stream.verb_head(pooled), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(output.noun_logits_BN[b], stream.noun_head(pooled), atol=1e-5, rtol=1e-4)


def bidirectional(module: nn.LSTM, x_TD: Tensor) -> Tensor:
    """The textbook recurrence, one step at a time."""
    for layer in range(module.num_layers):
        both = []
        for suffix, order in (("", 1), ("_reverse", -1)):
            w_x, w_h, b_x, b_h = (
                getattr(module, f"{kind}_l{layer}{suffix}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            h, c, steps = torch.zeros(module.hidden_size), torch.zeros(module.hidden_size), []
            for x in x_TD[::1] if order == 1 else x_TD.flip(0):
                i, f, g, o = (w_x @ x + b_x + w_h @ h + b_h).chunk(4)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                steps.append(h)
            both.append(torch.stack(steps[::order]))
        x_TD = torch.cat(both, dim=1)
    return x_TD


def test_three_scales_read_every_second_and_every_fourth_frame() -> None:
    torch.manual_seed(0)
    module, x_BTD = MultiScaleLSTM(5, 3).eval(), torch.randn(2, 8, 5)
    short, medium, long = module.scales
    assert all(isinstance(scale, BiLSTM) for scale in module.scales)
    with torch.no_grad():
        parts = [
            bidirectional(s, x).mean(dim=0)
            for s, x in zip((short, medium, long), (x_BTD[0], x_BTD[0, ::2], x_BTD[0, ::4]), strict=True)
        ]
        torch.testing.assert_close(module(x_BTD)[0], module.fusion(torch.cat(parts)))


def test_the_order_of_frames_matters_to_what_reads_time() -> None:
    torch.manual_seed(0)
    module, x_BTD = TemporalTransformer(8, 6, 2, 2, 0.0).eval(), torch.randn(1, 6, 8)
    with torch.no_grad():
        module.positions_TD.normal_()
        assert not torch.allclose(module(x_BTD), module(x_BTD.flip(1)), atol=1e-4)
    with pytest.raises(ModelError, match="made for 6 frames, the clip has 5: give as many"):
        module(x_BTD[:, :5])
    with pytest.raises(ModelError, match="8 features do not divide over 3 heads: choose a divisor"):
        TemporalTransformer(8, 6, 2, 3, 0.0)


def test_an_unknown_backbone_gets_near_names() -> None:
    with pytest.raises(ModelError, match=r"resnet5O.*near it are .*resnet5"):
        build_backbone("resnet5O")


def test_wrong_batches_are_refused() -> None:
    model = lstm()
    with pytest.raises(ModelError, match="the model reads rgb; the batch lacks rgb"):
        model({"flow": torch.zeros(1, 2, 4, 32, 32)})
    with pytest.raises(ModelError, match=r"\(B, 3, T, H, W\), got \(1, 4, 3, 32, 32\)"):
        model({"rgb": torch.zeros(1, 4, 3, 32, 32)})
