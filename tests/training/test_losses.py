"""Losses against references that are slow and written from the papers."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from epicsub.data.batch import LabelledClipBatch, Labels
from epicsub.models.heads import MASKED, TwoHeadOutput
from epicsub.recipe.losses import LossName, WeightName
from epicsub.training.losses import (
    LOSSES,
    WEIGHTS,
    Criterion,
    HeadLoss,
    action_labels,
    class_weights,
    soft_label_loss,
)

from .small import labelled

COUNTS = torch.tensor([1000, 100, 10, 1, 0])
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(7, 5, generator=GENERATOR)
LABELS = torch.tensor([0, 1, 2, 3, 0, 3, 1])


def probabilities(row: Tensor) -> list[float]:
    exponentials = [math.exp(value) for value in row.tolist()]
    return [value / sum(exponentials) for value in exponentials]


def test_every_name_of_the_recipe_is_a_row() -> None:
    assert set(LOSSES) == set(get_args(LossName))
    assert set(WEIGHTS) == set(get_args(WeightName))


def test_cross_entropy_is_torchs() -> None:
    torch.testing.assert_close(HeadLoss(COUNTS)(LOGITS, LABELS).mean(), F.cross_entropy(LOGITS, LABELS))
    smoothed = HeadLoss(COUNTS, label_smoothing=0.1)(LOGITS, LABELS).mean()
    torch.testing.assert_close(smoothed, F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal(gamma: float) -> None:
    expected = []
    for row, label in zip(LOGITS, LABELS.tolist(), strict=True):
        p = probabilities(row)[label]
        expected.append(-((1 - p) ** gamma) * math.log(p))
    torch.testing.assert_close(HeadLoss(COUNTS, "focal", gamma=gamma)(LOGITS, LABELS), torch.tensor(expected))


def test_focal_of_a_sure_clip_has_a_gradient() -> None:
    logits = torch.tensor([[60.0, 0.0]], requires_grad=True)
    HeadLoss(torch.ones(2), "focal", gamma=0.5)(logits, torch.tensor([0])).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_logit_adjusted_equals_the_papers_pairwise_form() -> None:
    """Eq 11: log(1 + sum over others of (pi_other / pi_own)^tau * exp(f_other - f_own))."""
    prior = [1000 / 1111, 100 / 1111, 10 / 1111, 1 / 1111, 1.0]
    for tau in (0.5, 1.0):
        expected = []
        for row, own in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
            others = [k for k in range(5) if k != own]
            total = sum((prior[k] / prior[own]) ** tau * math.exp(row[k] - row[own]) for k in others)
            expected.append(math.log1p(total))
        torch.testing.assert_close(HeadLoss(COUNTS, "logit_adjusted", tau=tau)(LOGITS, LABELS), torch.tensor(expected))


def test_equalised_leaves_rare_classes_out_of_others_denominators() -> None:
    loss = HeadLoss(COUNTS, "equalised", tail_share=0.01, ignore=1.0)  # classes 2 and 3 are rare, 4 never occurs
    expected = []
    for row, own in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        total = sum(math.exp(row[k]) for k in range(5) if k == own or k not in (2, 3))
        expected.append(math.log(total) - row[own])
    torch.testing.assert_close(loss(LOGITS, LABELS), torch.tensor(expected))
    never = HeadLoss(COUNTS, "equalised", tail_share=0.01, ignore=0.0)
    torch.testing.assert_close(never(LOGITS, LABELS).mean(), F.cross_entropy(LOGITS, LABELS))


def test_equalised_ignores_with_its_probability_and_gives_ignored_classes_no_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.zeros(4000, 5, requires_grad=True)
    HeadLoss(COUNTS, "equalised", tail_share=0.01, ignore=0.9)(logits, torch.zeros(4000).long()).sum().backward()
    untouched = (logits.grad == 0).float().mean(dim=0)
    assert untouched[[0, 1, 4]].tolist() == [0, 0, 0]
    torch.testing.assert_close(untouched[[2, 3]], torch.tensor([0.9, 0.9]), atol=0.02, rtol=0)


def test_class_weights_follow_their_formula() -> None:
    square = class_weights(COUNTS, "square_root")
    effective = class_weights(COUNTS, "effective_number", beta=0.99)
    assert square[4] == effective[4] == 0
    assert (square[3] / square[1]).item() == pytest.approx(10)
    expected = sum(0.99**i for i in range(100)) / sum(0.99**i for i in range(10))  # effective numbers, Eq 2
    assert (effective[2] / effective[1]).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", get_args(WeightName))
def test_over_the_training_clips_the_weighted_mean_is_torchs_own(name: WeightName, smoothing: float) -> None:
    counts = torch.tensor([300, 40, 5, 1, 0])
    labels = torch.repeat_interleave(torch.arange(5), counts)
    logits = torch.randn(len(labels), 5, generator=torch.Generator().manual_seed(1))
    raw = {
        "none": [1.0] * 5,
        "square_root": [n**-0.5 if n else 0.0 for n in counts.tolist()],
        "effective_number": [0.001 / (1 - 0.999**n) if n else 0.0 for n in counts.tolist()],
    }[name]
    expected = F.cross_entropy(logits, labels, torch.tensor(raw), label_smoothing=smoothing)
    ours = HeadLoss(counts, weights=name, label_smoothing=smoothing)(logits, labels).mean()
    torch.testing.assert_close(ours, expected)
    assert class_weights(counts, name)[labels].mean().item() == pytest.approx(1.0)


def test_class_weights_weigh_clips_and_the_mean_is_over_clips() -> None:
    weights = class_weights(COUNTS, "square_root")
    plain = F.cross_entropy(LOGITS, LABELS, reduction="none")
    torch.testing.assert_close(HeadLoss(COUNTS, weights="square_root")(LOGITS, LABELS), weights[LABELS] * plain)
    focal = HeadLoss(COUNTS, "focal", weights="square_root")(LOGITS, LABELS)
    torch.testing.assert_close(focal, weights[LABELS] * HeadLoss(COUNTS, "focal")(LOGITS, LABELS))


def test_soft_labels_are_a_divergence_with_the_gradient_of_its_temperature() -> None:
    teacher = torch.randn(7, 5, generator=GENERATOR)
    for temperature in (1.0, 4.0):
        expected = []
        for row, other in zip(LOGITS / temperature, teacher / temperature, strict=True):
            q, p = probabilities(row), probabilities(other)
            expected.append(temperature**2 * sum(b * math.log(b / a) for a, b in zip(q, p, strict=True)))
        torch.testing.assert_close(soft_label_loss(LOGITS, teacher, temperature), torch.tensor(expected))
        shifted = soft_label_loss(LOGITS, LOGITS + 3.0, temperature)
        torch.testing.assert_close(shifted, torch.zeros(7), atol=1e-5, rtol=0)
    student = LOGITS.clone().requires_grad_()
    soft_label_loss(student, teacher, 100.0).sum().backward()  # at a high temperature: (z - v) / K of centred logits
    centred = (LOGITS - LOGITS.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(student.grad, centred / 5, atol=0.02, rtol=0)


def with_teacher(verb_B: Tensor, noun_B: Tensor, **logits: Tensor) -> LabelledClipBatch:
    source = labelled({}, verb_B, noun_B)
    return replace(source, labels=replace(source.labels, **logits))


def output(**more: Tensor) -> TwoHeadOutput:
    return TwoHeadOutput(LOGITS, LOGITS.flip(1), {}, **more)


def test_criterion_adds_heads_with_their_weights_and_mixes_labels() -> None:
    pairs = torch.tensor([[0, 1], [0, 3], [1, 0], [2, 2], [3, 4]])
    source = labelled({}, torch.tensor([0, 1, 2, 3, 0, 3, 1]), torch.tensor([3, 0, 2, 4, 1, 4, 0]))
    own = source.labels
    joint = torch.tensor([1, 2, 3, 4, 0, 4, 2])
    assert action_labels(pairs, own.verb_B, own.noun_B).tolist() == joint.tolist()
    heads = {name: HeadLoss(torch.ones(5)) for name in ("verb", "noun", "action")}
    criterion = Criterion(heads, {"verb": 1.0, "noun": 2.0, "action": 0.5}, pairs)
    action_logits = torch.randn(7, 5, generator=GENERATOR)

    def by_hand(labels: Labels, actions: Tensor) -> Tensor:
        verb, noun = F.cross_entropy(LOGITS, labels.verb_B), F.cross_entropy(LOGITS.flip(1), labels.noun_B)
        return verb + 2 * noun + 0.5 * F.cross_entropy(action_logits, actions)

    out = output(action_logits_BA=action_logits)
    torch.testing.assert_close(criterion(out, source), by_hand(own, joint))
    rolled = Labels(verb_B=own.verb_B.roll(1), noun_B=own.noun_B.roll(1))
    mixed = replace(source, share_B=torch.full((7,), 0.3), partner=rolled)
    expected = 0.3 * by_hand(own, joint) + 0.7 * by_hand(rolled, joint.roll(1))
    torch.testing.assert_close(criterion(out, mixed), expected)
    whole = replace(mixed, share_B=torch.ones(7))
    torch.testing.assert_close(criterion(out, whole), criterion(out, source))


def test_criterion_takes_its_share_of_soft_labels_and_the_chosen_clips() -> None:
    heads = {name: HeadLoss(torch.ones(5)) for name in ("verb", "noun")}
    criterion = Criterion(heads, {"verb": 1.0, "noun": 1.0}, soft=0.25, temperature=2.0)
    teacher = torch.randn(7, 5, generator=GENERATOR)
    source = with_teacher(LABELS, LABELS, teacher_verb_BV=teacher, teacher_noun_BN=teacher)
    chosen = torch.tensor([True, False, True, True, False, False, False])
    expected = torch.zeros(())
    for logits in (LOGITS[chosen], LOGITS.flip(1)[chosen]):
        expected = expected + 0.75 * F.cross_entropy(logits, LABELS[chosen])
        expected = expected + 0.25 * soft_label_loss(logits, teacher[chosen], 2.0).mean()
    torch.testing.assert_close(criterion(output(), source, chosen), expected)


def test_criterion_counts_a_second_classifier() -> None:
    criterion = Criterion({name: HeadLoss(torch.ones(5)) for name in ("verb", "noun")}, {"verb": 1.0, "noun": 1.0})
    source = labelled({}, LABELS, LABELS)
    twice = output()._replace(second=output())
    torch.testing.assert_close(criterion(twice, source), 2 * criterion(output(), source))


@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_soft_labels_are_among_the_verbs_that_there_are(temperature: float) -> None:
    """A teacher of all verbs, whose probability lies where the student can have none."""
    verbs = [1, 3]
    masked = torch.full((7, 5), MASKED).index_copy(1, torch.tensor(verbs), LOGITS[:, verbs]).requires_grad_()
    teacher = torch.randn(7, 5, generator=GENERATOR)
    labels = torch.tensor([1, 3, 1, 1, 3, 3, 1])
    criterion = Criterion({"verb": HeadLoss(torch.ones(5))}, {"verb": 1.0}, None, 0.5, temperature, verbs)
    source = with_teacher(labels, labels, teacher_verb_BV=teacher)
    loss = criterion(TwoHeadOutput(masked, LOGITS, {}), source)
    alone = Criterion({"verb": HeadLoss(torch.ones(2))}, {"verb": 1.0}, None, 0.5, temperature)
    named = with_teacher((labels == 3).long(), labels, teacher_verb_BV=teacher[:, verbs])
    torch.testing.assert_close(loss, alone(TwoHeadOutput(LOGITS[:, verbs], LOGITS, {}), named))
    loss.backward()
    assert masked.grad[:, [0, 2, 4]].abs().max() == 0
