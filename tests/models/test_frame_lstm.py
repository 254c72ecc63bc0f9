import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from epicsub.errors import ModelError
from epicsub.models.frame_lstm import FrameLSTM


class EarlierModel(nn.Module):
    """The group's first model as its users describe it; checkpoints of it exist."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = resnet50()
        self.backbone.fc = nn.Identity()
        self.temporal = nn.LSTM(2048, 1024, 2, batch_first=True, bidirectional=True, dropout=0.3)
        self.verb_head = nn.Linear(2048, 97)
        self.noun_head = nn.Linear(2048, 300)


def test_tensors_are_those_of_the_earlier_model() -> None:
    with torch.device("meta"):
        earlier, model = EarlierModel().state_dict(), FrameLSTM("resnet50").state_dict()
    own = {name: tuple(value.shape) for name, value in model.items()}
    assert own.pop("normalise.mean") == own.pop("normalise.std") == (3,)
    assert own == {name: tuple(value.shape) for name, value in earlier.items()}


def test_normalisation_is_the_backbones_own() -> None:
    with torch.device("meta"):
        published = FrameLSTM("resnet50", hidden=4).backbone.pretrained_cfg
    assert (published["mean"], published["std"]) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    model = FrameLSTM("test_resnet", hidden=4)  # published for 0.5, 0.5
    torch.testing.assert_close(model.normalise.mean, torch.full((3,), 127.5))
    torch.testing.assert_close(model.normalise.std, torch.full((3,), 127.5))


def test_output_equals_frames_one_by_one() -> None:
    torch.manual_seed(0)
    model = FrameLSTM("test_resnet", hidden=6, layers=2).eval()
    clip_BCTHW = torch.randint(0, 256, (2, 3, 5, 48, 40), dtype=torch.uint8)
    with torch.no_grad():
        output = model({"rgb": clip_BCTHW})
        for b in range(2):
            frames = [model.backbone(clip_BCTHW[b : b + 1, :, t].float() / 127.5 - 1) for t in range(5)]
            pooled = bidirectional(model.temporal, torch.cat(frames)).mean(dim=0)
            torch.testing.assert_close(output.features["rgb"][b], pooled, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(output.verb_logits_BV[b], model.verb_head(pooled), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(output.noun_logits_BN[b], model.noun_head(pooled), atol=1e-5, rtol=1e-4)


def bidirectional(lstm: nn.LSTM, x_TD: Tensor) -> Tensor:
    """The textbook recurrence, one step at a time."""
    for layer in range(lstm.num_layers):
        both = []
        for suffix, order in (("", 1), ("_reverse", -1)):
            w_x, w_h, b_x, b_h = (
                getattr(lstm, f"{kind}_l{layer}{suffix}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            h, c, steps = torch.zeros(lstm.hidden_size), torch.zeros(lstm.hidden_size), []
            for x in x_TD[::1] if order == 1 else x_TD.flip(0):
                i, f, g, o = (w_x @ x + b_x + w_h @ h + b_h).chunk(4)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                steps.append(h)
            both.append(torch.stack(steps[::order]))
        x_TD = torch.cat(both, dim=1)
    return x_TD


def test_an_unknown_backbone_gets_near_names() -> None:
    with pytest.raises(ModelError, match=r"resnet5O.*near it are .*resnet5"):
        FrameLSTM("resnet5O")


def test_wrong_batches_are_refused() -> None:
    model = FrameLSTM("test_resnet", hidden=4)
    with pytest.raises(ModelError, match="reads rgb; the batch has flow"):
        model({"flow": torch.zeros(1, 2, 4, 32, 32)})
    with pytest.raises(ModelError, match=r"\(B, 3, T, H, W\), got \(1, 4, 3, 32, 32\)"):
        model({"rgb": torch.zeros(1, 4, 3, 32, 32)})
