import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from epicsub.errors import ModelError
from epicsub.modality import FLOW, RGB
from epicsub.models.i3d import I3D, two_stream_i3d
from epicsub.models.normalise import Normalise
from epicsub.models.streams import TwoStream


def clips(B: int = 2, T: int = 9, H: int = 32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randint(0, 256, (B, channels, T, H, H), dtype=torch.uint8, generator=generator)
        for name, channels in {"rgb": 3, "flow": 2}.items()
    }


@pytest.fixture(scope="module")
def model() -> TwoStream:
    torch.manual_seed(0)
    return two_stream_i3d(["rgb", "flow"], width=0.0625).eval()


def test_logits_are_the_sum_of_the_streams(model: TwoStream) -> None:
    batch = clips()
    verb, noun = torch.zeros(2, 97), torch.zeros(2, 300)
    with torch.no_grad():
        output = model(batch)
        for name, clip in batch.items():
            trunk = I3D(clip.shape[1], width=0.0625).eval()
            stream = model.stream(name)
            trunk.load_state_dict(stream.trunk.state_dict())
            features = trunk.features(clip.float() / 127.5 - 1)
            torch.testing.assert_close(output.features[name], features, atol=1e-5, rtol=1e-4)
            verb += features @ stream.verb_head.weight.T + stream.verb_head.bias
            noun += features @ stream.noun_head.weight.T + stream.noun_head.bias
    torch.testing.assert_close(output.verb_logits_BV, verb, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.noun_logits_BN, noun, atol=1e-5, rtol=1e-4)


def test_classification_loss_is_the_cross_entropy_of_the_summed_logits(model: TwoStream) -> None:
    """Eq 1 written out: -log of the softmax of the sum over streams, which a mean over streams is not."""
    batch, verb = clips(), torch.tensor([3, 96])
    with torch.no_grad():
        model.stream("rgb").verb_head.weight.mul_(20)  # confident streams, so that sum and mean differ
        output = model(batch)
        scores = sum(model.stream(m).verb_head(output.features[m]) for m in ("rgb", "flow")).double()
        by_hand = -sum(
            torch.log(scores[i, y].exp() / scores[i].exp().sum()) for i, y in enumerate(verb.tolist())
        ) / len(verb)
        loss = F.cross_entropy(output.verb_logits_BV, verb)
        model.stream("rgb").verb_head.weight.div_(20)
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-5)
    assert abs(F.cross_entropy(scores / 2, verb).item() - loss.item()) > 1e-3


def test_one_modality_alone() -> None:
    batch = clips()
    model = two_stream_i3d(["flow"], width=0.0625).eval()
    assert model.feature_dims == {"flow": 64}
    assert set(model(batch).features) == {"flow"}


def test_features_are_before_dropout_and_logits_after() -> None:
    torch.manual_seed(0)
    model = two_stream_i3d(["flow"], width=0.0625, dropout=0.9).train()
    batch = {"flow": clips(B=4)["flow"]}
    first, second = model(batch), model(batch)
    torch.testing.assert_close(first.features["flow"], second.features["flow"])  # batch statistics: no state read
    assert not torch.allclose(first.verb_logits_BV, second.verb_logits_BV)


def test_parameters_at_full_width() -> None:
    """24,552,576 in the trunks (published), 406,925 in the two heads of each stream."""
    with torch.device("meta"):
        model = two_stream_i3d(["rgb", "flow"])
    assert sum(p.numel() for p in model.parameters()) == 24_552_576 + 2 * 406_925
    assert model.feature_dims == {"rgb": 1024, "flow": 1024}


def test_normalisation_is_in_the_state_dict() -> None:
    with torch.device("meta"):
        names = set(two_stream_i3d(["rgb"], width=0.1).state_dict())
    assert {"streams.rgb.normalise.mean", "streams.rgb.normalise.std"} <= names


@pytest.mark.parametrize("modalities", [[], ["rgb", "rgb"], ["audio"]])
def test_other_modalities_are_refused(modalities: list[str]) -> None:
    with pytest.raises(ModelError, match="one or more of rgb, flow"):
        two_stream_i3d(modalities, width=0.0625)


def test_a_missing_modality_is_named(model: TwoStream) -> None:
    with pytest.raises(ModelError, match="reads rgb, flow; the batch lacks flow"):
        model({"rgb": clips()["rgb"]})


def test_bytes_become_minus_one_to_one() -> None:
    clip = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 3, 1, 1).expand(2, 2, 3, 4, 4)
    out = Normalise(FLOW.mean, FLOW.std)(clip)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out[0, 1, :, 0, 0], torch.tensor([-1.0, -0.6, 1.0]))
    assert torch.equal(Normalise(FLOW.mean, FLOW.std)(clip.float()), out)


def test_unit_range_constants_are_applied_per_channel() -> None:
    frame = torch.full((1, 3, 2, 2), 102, dtype=torch.uint8)  # 0.4
    out = Normalise.of_rgb((0.4, 0.2, 0.0), (1.0, 0.5, 0.1), 3)(frame)
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([0.0, 0.4, 4.0]))


def test_constants_travel_with_the_weights() -> None:
    other = Normalise(RGB.mean, RGB.std)
    other.load_state_dict(Normalise.of_rgb((0.1, 0.2, 0.3), (1.0, 2.0, 3.0), 3).state_dict())
    torch.testing.assert_close(other.mean, torch.tensor([25.5, 51.0, 76.5]))
    torch.testing.assert_close(other.std, torch.tensor([255.0, 510.0, 765.0]))
