"""The classification loss: both tasks, every classifier, and the clips that a method chooses."""

import math

import pytest
import torch
from torch import Tensor

from epicsub.models.heads import TwoHeadOutput

from .small import criterion, labelled


def slow(logits: Tensor, labels: Tensor, chosen: list[int]) -> float:
    rows = [logits[i].tolist() for i in chosen]
    terms = [
        math.log(sum(map(math.exp, row))) - row[label] for row, label in zip(rows, labels[chosen].tolist(), strict=True)
    ]
    return sum(terms) / len(terms)


def drawn(seed: int) -> TwoHeadOutput:
    draw = torch.Generator().manual_seed(seed)
    verb, noun = (torch.randn(6, n, generator=draw, dtype=torch.float64).requires_grad_() for n in (97, 300))
    return TwoHeadOutput(verb, noun, {})


@pytest.mark.parametrize("chosen", [None, [0, 2, 5]])
@pytest.mark.parametrize("classifiers", [1, 2])
def test_it_is_the_mean_over_the_chosen_clips_summed_over_tasks_and_classifiers(
    chosen: list[int] | None, classifiers: int
) -> None:
    outputs = [drawn(seed) for seed in range(classifiers)]
    verb_B, noun_B = torch.tensor([3, 96, 0, 1, 1, 7]), torch.tensor([299, 0, 5, 5, 9, 30])
    mask = None if chosen is None else torch.tensor([i in chosen for i in range(6)])
    whole = outputs[0]._replace(second=outputs[1] if classifiers == 2 else None)
    loss = criterion()(whole, labelled({}, verb_B, noun_B), mask)
    rows = list(range(6)) if chosen is None else chosen
    expected = sum(slow(o.verb_logits_BV, verb_B, rows) + slow(o.noun_logits_BN, noun_B, rows) for o in outputs)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    loss.backward()
    for output in outputs:
        touched = output.verb_logits_BV.grad.any(dim=1).nonzero().flatten().tolist()
        assert touched == rows
