"""A model limited to a list's verbs learns as a head with these verbs alone would."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from epicsub.errors import ModelError
from epicsub.models.heads import TwoHeadOutput
from epicsub.models.two_classifiers import TwoClassifiers
from epicsub.models.class_mask import limit_classes

VERBS = (0, 1, 3, 4, 2, 7, 10, 9)  # MM-SADA's eight


class TwoHeads(nn.Module):
    """Two streams whose logits are summed, as in the two-stream I3D."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.feature_dims = {"rgb": 6, "flow": 5}
        self.streams = nn.ModuleDict(
            {
                name: nn.ModuleDict({"verb_head": nn.Linear(dim, 97), "noun_head": nn.Linear(dim, 300)})
                for name, dim in self.feature_dims.items()
            }
        )

    def classify(self, features):
        both = [(heads["verb_head"](features[n]), heads["noun_head"](features[n])) for n, heads in self.streams.items()]
        return tuple(sum(logits) for logits in zip(*both, strict=True))


@pytest.fixture
def features() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"rgb": torch.randn(5, 6), "flow": torch.randn(5, 5)}


def test_the_loss_over_97_is_that_of_eight(features) -> None:
    """Reference: cut the eight columns out of every head, and number the labels 0 to 7."""
    label_B = torch.tensor([10, 0, 4, 9, 9])
    limited, whole = TwoHeads(), TwoHeads()
    limit_classes(limited, VERBS, nouns=True)
    F.cross_entropy(limited.classify(features)[0], label_B).backward()
    F.cross_entropy(whole.classify(features)[0][:, list(VERBS)], torch.tensor([6, 0, 3, 7, 7])).backward()
    for name in ("rgb", "flow"):
        one, other = (model.streams[name]["verb_head"].weight.grad for model in (limited, whole))
        assert torch.allclose(one, other, atol=1e-7)
        assert one[list(VERBS)].abs().sum() > 0
        absent = [verb for verb in range(97) if verb not in VERBS]
        assert torch.equal(one[absent], torch.zeros(89, one.shape[1]))


def test_nouns_are_all_as_likely_and_not_trained(features) -> None:
    model = TwoHeads()
    limit_classes(model, None, nouns=False)
    verb_BV, noun_BN = model.classify(features)
    assert torch.equal(noun_BN, torch.zeros(5, 300))
    assert not noun_BN.requires_grad
    assert torch.equal(verb_BV, TwoHeads().classify(features)[0])
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == {
        f"streams.{stream}.noun_head.{part}" for stream in ("rgb", "flow") for part in ("weight", "bias")
    }


@pytest.mark.parametrize("training", [True, False])
def test_a_second_classifier_is_limited_too(features, training) -> None:
    class WithForward(TwoHeads):
        def forward(self, features):
            return TwoHeadOutput(*self.classify(features), features)

    model = TwoClassifiers(WithForward(), 0.0).train(training)
    limit_classes(model, VERBS, nouns=False)
    output = model(features)
    both = [output, output.second] if training else [output]
    for one in both:
        probability_BV = one.verb_logits_BV.softmax(dim=1)
        assert torch.allclose(probability_BV[:, list(VERBS)].sum(dim=1), torch.ones(5))
        assert torch.equal(one.noun_logits_BN.softmax(dim=1), torch.full((5, 300), 1 / 300))
    if not training:  # the mean of two softmaxes over the eight, not over the 97
        model.train()
        output = model(features)
        mean = (output.verb_logits_BV.softmax(dim=1) + output.second.verb_logits_BV.softmax(dim=1)) / 2
        model.eval()
        assert torch.allclose(model(features).verb_logits_BV.softmax(dim=1), mean, atol=1e-7)


def test_a_model_without_such_heads_is_refused() -> None:
    with pytest.raises(ModelError, match="needs a model with verb_head and noun_head"):
        limit_classes(nn.Linear(3, 3), VERBS, nouns=True)
