"""The third head: beside the others in training, folded into verb and noun in evaluation, with all it says."""

import copy

import pytest
import torch
from torch import nn

from epicsub.models.heads import PAIRS_NAME, add_action_head
from epicsub.models.heads import TwoHeadOutput

PAIRS = torch.tensor([[0, 1], [0, 2], [2, 1]])


class Heads(nn.Module):
    """A model of two modalities, 3 verbs and 4 nouns."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_dims = {"rgb": 2, "flow": 3}
        self.verb, self.noun = nn.Linear(5, 3), nn.Linear(5, 4)

    def forward(self, features: dict[str, torch.Tensor]) -> TwoHeadOutput:
        both = torch.cat([features["rgb"], features["flow"]], dim=1)
        return TwoHeadOutput(self.verb(both), self.noun(both), features)


@pytest.fixture
def model() -> Heads:
    torch.manual_seed(0)
    made = Heads()
    add_action_head(made, PAIRS, fold=0.25, dropout=0.0, classes=(3, 4))
    return made


@pytest.fixture
def features() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"flow": torch.randn(6, 3), "rgb": torch.randn(6, 2)}


def test_training_gives_three_scores_and_evaluation_folds_them(model: Heads, features: dict) -> None:
    out = model.train()(features)
    assert out.action_logits_BA.shape == (6, 3)
    folded = model.eval()(features)
    assert folded.action_logits_BA is None
    q = out.action_logits_BA.softmax(1)
    for row in range(6):
        for name, classes, column in (("verb_logits_BV", 3, 0), ("noun_logits_BN", 4, 1)):
            p = getattr(out, name)[row].softmax(0)
            for k in range(classes):
                marginal = sum(q[row, a] for a in range(3) if PAIRS[a, column] == k)
                expected = 0.75 * p[k] + 0.25 * marginal
                torch.testing.assert_close(getattr(folded, name)[row, k].exp(), expected)
    torch.testing.assert_close(folded.verb_logits_BV.exp().sum(1), torch.ones(6))


def test_the_head_is_in_the_state_and_in_copies_and_gets_gradients(model: Heads, features: dict) -> None:
    assert torch.equal(model.state_dict()[PAIRS_NAME], PAIRS)
    twin = copy.deepcopy(model)
    nn.init.zeros_(twin.action_head.linear.weight)
    assert not torch.equal(twin.train()(features).action_logits_BA, model.train()(features).action_logits_BA)
    model(features).action_logits_BA.sum().backward()
    assert model.action_head.linear.weight.grad is not None


def test_actions_of_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        add_action_head(Heads(), torch.tensor([[3, 0]]), 0.5, 0.0, classes=(3, 4))
