"""The contrastive losses against loops and closed forms, and who is an anchor."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from epicsub.adaptation import Contrastive
from epicsub.adaptation.contrastive import info_nce, predicted_class, supervised_contrastive
from epicsub.errors import AdaptationError
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe.adaptation import ContrastiveAdaptation
from tests.adaptation import batches
from tests.adaptation.batches import batch_of, section

DIMS = {"rgb": 6, "flow": 4}


def units(n: int, d: int, seed: int) -> Tensor:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(z, dim=1)


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def slow_info_nce(one: Tensor, other: Tensor, t: float) -> float:
    a, b, total = one.tolist(), other.tolist(), 0.0
    for rows, columns in ((a, b), (b, a)):
        for i, row in enumerate(rows):
            scores = [math.exp(dot(row, column) / t) for column in columns]
            total -= math.log(scores[i] / sum(scores)) / (2 * len(a))
    return total


def slow_supervised(anchors: Tensor, others: Tensor, positive: Tensor, t: float) -> float:
    terms = []
    for anchor, row in zip(anchors.tolist(), positive.tolist(), strict=True):
        scores = [math.exp(dot(anchor, other) / t) for other in others.tolist()]
        own = [-math.log(score / sum(scores)) for score, hit in zip(scores, row, strict=True) if hit]
        if own:
            terms.append(sum(own) / len(own))
    return sum(terms) / len(terms) if terms else 0.0


@pytest.mark.parametrize(("n", "t"), [(2, 0.1), (5, 0.1), (5, 1.0)])
def test_info_nce_of_identical_orthonormal_vectors(n: int, t: float) -> None:
    z = torch.eye(n, 7, dtype=torch.float64)
    assert info_nce(z, z, t).item() == pytest.approx(math.log(1 + (n - 1) * math.exp(-1 / t)))


def test_losses_equal_loops_and_pass_gradcheck() -> None:
    one, other = units(5, 3, 0), units(5, 3, 1)
    assert info_nce(one, other, 0.3).item() == pytest.approx(slow_info_nce(one, other, 0.3), abs=1e-6)
    anchors, positive = units(4, 3, 2), torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1] * 5]) > 0
    loss, used = supervised_contrastive(anchors, other, positive, 0.3)
    assert loss.item() == pytest.approx(slow_supervised(anchors, other, positive, 0.3), abs=1e-6)
    assert used.item() == 3
    one.requires_grad_(), other.requires_grad_(), anchors.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, 0.3), (one, other))
    assert torch.autograd.gradcheck(lambda a, b: supervised_contrastive(a, b, positive, 0.3)[0], (anchors, other))


def test_anchors_without_positives_contribute_nothing() -> None:
    anchors, others = units(3, 4, 0).requires_grad_(), units(5, 4, 1)
    loss, used = supervised_contrastive(anchors, others, torch.zeros(3, 5, dtype=torch.bool), 0.1)
    assert (loss.item(), used.item()) == (0.0, 0)
    loss.backward()
    assert torch.equal(anchors.grad, torch.zeros_like(anchors))
    some = torch.zeros(3, 5, dtype=torch.bool)
    some[1, 2] = True
    loss, _ = supervised_contrastive(anchors, others, some, 0.1)
    alone, _ = supervised_contrastive(anchors[1:2], others, some[1:2], 0.1)
    assert loss.item() == pytest.approx(alone.item())


def test_who_is_sure_of_what() -> None:
    verb = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]).log()
    noun = torch.tensor([[0.95, 0.05], [0.1, 0.9], [0.5, 0.5]]).log()
    output = TwoHeadOutput(verb, noun, {})
    for label, classes, sure in (
        ("verb", [0, 0, 1], [True, False, True]),
        ("noun", [0, 1, 0], [True, True, False]),
        ("action", [0, 1, 1000], [True, False, False]),
    ):
        predicted, confident = predicted_class(output, label, 0.79)
        assert (predicted.tolist(), confident.tolist()) == (classes, sure)


def features(B: int, seed: int, dims: dict[str, int]) -> dict[str, Tensor]:
    return {m: f.detach().double().requires_grad_() for m, f in batches.features(B, seed, dims).items()}


@pytest.mark.parametrize("dims", [DIMS, {**DIMS, "audio": 3}])
@pytest.mark.parametrize("label", ["verb", "noun", "action"])
def test_the_method_sums_domains_pairs_and_modalities(dims: dict[str, int], label: str) -> None:
    torch.manual_seed(0)
    source, target = features(6, 1, dims), features(5, 2, dims)
    batch = batch_of(source, target)
    p_verb, p_noun = (x.softmax(1) for x in (batch.target.verb_logits_BV, batch.target.noun_logits_BN))
    p_A = {"verb": p_verb.amax(1), "noun": p_noun.amax(1), "action": p_verb.amax(1) * p_noun.amax(1)}[label]
    least = p_A.sort().values[2].item()  # two of the five are less sure
    settings = {"temperature": 0.2, "confidence": least, "modal_weight": 2.0, "domain_weight": 3.0}
    one = Contrastive(dims, section(ContrastiveAdaptation, label=label, hidden=5, dim=3, **settings)).double()
    losses = one.losses(batch)
    z = [{m: F.normalize(one.projections[m](f[m]), dim=1) for m in dims} for f in (source, target)]
    names, modal, domain = list(dims), 0.0, 0.0
    for part in z:
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                modal += slow_info_nce(part[first], part[second], 0.2)
    positive, of_class = torch.zeros(5, 6, dtype=torch.bool), torch.zeros(5, 6, dtype=torch.bool)
    for a in range(5):
        v, n = int(p_verb[a].argmax()), int(p_noun[a].argmax())
        for b in range(6):
            hit = {"verb": batch.verb_B[b] == v, "noun": batch.noun_B[b] == n}
            hit["action"] = hit["verb"] & hit["noun"]
            of_class[a, b] = bool(hit[label])
            positive[a, b] = bool(hit[label]) and p_A[a].item() >= least
    assert label == "action" or (of_class & ~positive).any(), "some clip is of a class in the batch, and unsure"
    for m in names:
        domain += slow_supervised(z[1][m], z[0][m], positive, 0.2)
    assert losses.alignment.item() == pytest.approx(2 * modal + 3 * domain, abs=1e-6)
    assert losses.logs["anchors"] == positive.any(dim=1).sum()
    assert len(list(one.alignment_parameters())) == 4 * len(dims)


def test_one_modality_is_refused() -> None:
    with pytest.raises(AdaptationError, match="two modalities"):
        Contrastive({"rgb": 6}, section(ContrastiveAdaptation))
