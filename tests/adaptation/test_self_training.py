"""Self-training: labels, thresholds and teacher against loops; what it must not do; and that right labels teach."""

import copy
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation import SelfTraining
from epicsub.adaptation.discriminator import reversal_strength
from epicsub.adaptation.interface import AdaptationLosses
from epicsub.adaptation.self_training import SHARE_FLOOR, class_thresholds, with_pairs
from epicsub.errors import AdaptationError
from epicsub.models.feature_heads import FeatureHeads
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe.unlabelled import SelfTrainingAdaptation
from epicsub.submission.pairs import log_ratio
from tests.adaptation.batches import batch_of, section

DIMS = {"rgb": 8}
VERB_S = torch.tensor([0, 0, 0, 1, 1, 2] * 40)
NOUN_S = torch.tensor([3, 3, 4, 4, 4, 5] * 40)


def model(seed: int = 0, batch_norm: bool = False, dropout: float = 0.0) -> FeatureHeads:
    torch.manual_seed(seed)
    return FeatureHeads(DIMS, 6, batch_norm, dropout)


def method(net: nn.Module, **settings: Any) -> SelfTraining:
    made = SelfTraining.for_model(net, section(SelfTrainingAdaptation, **settings))
    made.count_labels(VERB_S, NOUN_S)
    return made


def clips(seed: int, B: int = 9) -> dict[str, Tensor]:
    return {"rgb": 3 * torch.randn(B, DIMS["rgb"], generator=torch.Generator().manual_seed(seed))}


def run(module: nn.Module, clips: dict[str, Tensor]) -> TwoHeadOutput:
    return module(clips)


def losses_of(training: SelfTraining, net: nn.Module, seed: int = 1, progress: float = 0.5) -> AdaptationLosses:
    weak = clips(seed)
    strong = training.strong_view(weak, torch.Generator().manual_seed(seed))
    source, target = net(clips(seed + 100)), net(strong)
    given = batch_of(
        source.features,
        target.features,
        progress,
        source=source,
        target=target,
        model=net,
        weak=partial(run, clips=weak),
    )
    return training.losses(given)


def test_one_step_is_the_formula() -> None:
    """Alignment, pairs, thresholds, masks and weight, written out."""
    net = model()
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(2.5)  # surer of some clips
    training = method(net, threshold=0.3, least_threshold=0.01, memory=0.5)
    losses = losses_of(training, net, progress=0.2)
    taught, strong = net(clips(1)), net(training.strong_view(clips(1), torch.Generator().manual_seed(1)))
    ratio_VN = torch.tensor(log_ratio(VERB_S.tolist(), NOUN_S.tolist())).exp() ** 0.25
    p = {"verb": taught.verb_logits_BV.softmax(1).double(), "noun": taught.noun_logits_BN.softmax(1).double()}
    prior = {"verb": VERB_S.bincount(minlength=97) / 240, "noun": NOUN_S.bincount(minlength=300) / 240}
    for task, p_BC in p.items():
        mean_C = 0.5 * prior[task] + 0.5 * p_BC.mean(0)
        aligned_BC = p_BC * ((prior[task] + SHARE_FLOOR) / (mean_C + SHARE_FLOOR)).sqrt()
        p[task] = aligned_BC / aligned_BC.sum(1, keepdim=True)
    q_BVN = p["verb"][:, :, None] * p["noun"][:, None, :] * ratio_VN
    q_BVN = q_BVN / q_BVN.sum((1, 2), keepdim=True)
    expected, kept_any = 0.0, 0
    for task, q_BC, logits in (
        ("verb", q_BVN.sum(2), strong.verb_logits_BV),
        ("noun", q_BVN.sum(1), strong.noun_logits_BN),
    ):
        sigma_C = prior[task] / (prior[task] + SHARE_FLOOR)
        kept = 0
        for row, logit in zip(q_BC, logits, strict=True):
            label = int(row.argmax())
            if row[label] > max(0.01, 0.3 * float(sigma_C[label] / sigma_C.max())):
                expected -= float(logit.log_softmax(0)[label]) / len(q_BC)
                kept += 1
        assert losses.logs[f"{task}_kept"].item() == pytest.approx(100 * kept / len(q_BC))
        kept_any += kept
    assert 0 < kept_any < 18, "some are kept and some are not"
    assert losses.alignment.item() == pytest.approx(reversal_strength(0.2, 1.0) * expected, rel=1e-4)


def test_pairs_are_a_hint() -> None:
    """Strength 0 gives p back; a pair that the source never has loses a little and is never ruled out."""
    p_BV, p_BN = (torch.randn(4, n, generator=torch.Generator().manual_seed(n)).softmax(1) for n in (97, 300))
    net = model()
    ratio_VN = method(net).get_buffer("log_ratio_VN")
    np.testing.assert_allclose(ratio_VN, log_ratio(VERB_S.tolist(), NOUN_S.tolist()), atol=1e-6)
    for q, p in zip(with_pairs(p_BV, p_BN, ratio_VN, 0.0), (p_BV, p_BN), strict=True):
        torch.testing.assert_close(q, p, atol=1e-7, rtol=1e-6)
    assert ratio_VN[1, 3] < 0 < ratio_VN[0, 3]
    sure_BV, sure_BN = (torch.full((1, n), 1e-4) for n in (97, 300))
    sure_BV[0, 1], sure_BN[0, 3] = 1 - 96e-4, 1 - 299e-4
    q_BV, q_BN = with_pairs(sure_BV, sure_BN, ratio_VN, 0.25)
    assert (q_BV.argmax(), q_BN.argmax()) == (1, 3)


def test_thresholds_follow_what_is_predicted_too_often() -> None:
    prior_C = torch.tensor([0.5, 0.4, 0.1, 0.0])
    kept_C = torch.tensor([0.5, 0.2, 0.02, 0.0])
    sigma = [k / (p + SHARE_FLOOR) for k, p in zip(kept_C.tolist(), prior_C.tolist(), strict=True)]
    expected = [max(0.3, 0.9 * s / max(sigma)) for s in sigma]
    torch.testing.assert_close(class_thresholds(kept_C, prior_C, 0.9, 0.3), torch.tensor(expected))
    assert expected[2:] == [0.3, 0.3]
    assert math.isfinite(class_thresholds(torch.zeros(4), prior_C, 0.9, 0.3).sum())


def test_the_teacher_is_the_average_of_the_students_and_has_no_gradient() -> None:
    net = model(batch_norm=True)
    training = method(net, decay=0.75)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(1.0)  # what the source stage did: the teacher begins after it
    losses_of(training, net)
    average = [w.detach().clone() for w in net.parameters()]
    for old, new in zip(training.teacher.parameters(), net.parameters(), strict=True):
        assert torch.equal(old, new)
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(0.5)
    losses = losses_of(training, net)
    for old, begun, new in zip(training.teacher.parameters(), average, net.parameters(), strict=True):
        torch.testing.assert_close(old, 0.75 * begun + 0.25 * new.detach())
    before = copy.deepcopy(training.teacher.state_dict())
    losses.alignment.backward()
    assert all(w.grad is None and not w.requires_grad for w in training.parameters())
    assert list(training.alignment_parameters()) == []
    assert all(torch.equal(value, before[name]) for name, value in training.teacher.state_dict().items())
    assert not any(module.training for module in training.train().teacher.modules())


def test_without_decay_the_student_teaches_itself() -> None:
    net = model(batch_norm=True)
    training = method(net, decay=0.0)
    for _ in range(3):
        losses_of(training, net)
        with torch.no_grad():
            for weight in net.parameters():
                weight.mul_(1.1)
    losses_of(training, net)
    assert all(torch.equal(a, b) for a, b in zip(training.teacher.parameters(), net.parameters(), strict=True))


def test_a_restored_method_goes_on_to_the_bit() -> None:
    net = model()
    whole = method(net, decay=0.9, threshold=0.2, least_threshold=0.0)
    losses_of(whole, net, 1)
    resumed = method(model(5), decay=0.9, threshold=0.2, least_threshold=0.0)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(0.9)
    one, other = losses_of(whole, net, 2), losses_of(resumed, net, 2)
    assert torch.equal(one.alignment, other.alignment)
    assert one.logs.keys() == other.logs.keys()
    assert all(torch.equal(v, resumed.state_dict()[name]) for name, v in whole.state_dict().items())


def trained(
    net: nn.Module, training: SelfTraining | None, data: dict[str, Tensor], steps: int, rate: float
) -> nn.Module:
    """A few steps on the source and, with a method, on the target."""
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, fused=True)
    draw = torch.Generator().manual_seed(0)
    for step in range(steps):
        torch.manual_seed(step)  # of dropout, as each step of a run has
        rows, other = (torch.randint(len(data["source"]), (32,), generator=draw) for _ in range(2))
        source = net({"rgb": data["source"][rows]})
        loss = F.cross_entropy(source.verb_logits_BV, data["label"][rows])
        if training is not None:
            weak = {"rgb": data["target"][other]}
            target = net(training.strong_view(weak, torch.Generator().manual_seed(step)))
            seen = batch_of(
                source.features, target.features, 1.0, source=source, target=target, model=net,
                weak=partial(run, clips=weak), target_ids=other.tolist(),
            )  # fmt: skip
            loss = loss + training.losses(seen).alignment
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def shifted(seed: int) -> dict[str, Tensor]:
    """Six classes whose means move from source to target."""
    draw = torch.Generator().manual_seed(seed)
    means, move = torch.randn(6, 8, generator=draw), 0.8 * torch.randn(6, 8, generator=draw)
    label = torch.arange(6).repeat(40)
    noise = torch.randn(2, 240, 8, generator=draw)
    return {"source": means[label] + noise[0], "target": (means + move)[label] + noise[1], "label": label}


def test_a_threshold_of_one_is_source_only_to_the_bit() -> None:
    data = shifted(0)
    never = method(model(dropout=0.3), threshold=1.0, least_threshold=1.0)
    adapted = trained(model(dropout=0.3), never, data, 8, 0.01)
    control = trained(model(dropout=0.3), None, data, 8, 0.01)
    assert all(torch.equal(value, control.state_dict()[name]) for name, value in adapted.state_dict().items())


class Planted(SelfTraining):
    """Its labels are given, all of them count, and nouns are left alone."""

    def give(self, label_S: Tensor) -> "Planted":
        self.label_S = label_S
        return self

    def losses(self, batch):
        self.ids = torch.tensor(batch.target_ids)
        return super().losses(batch)

    def _keep(self, task: str, q_BC: Tensor) -> tuple[Tensor, Tensor]:
        label_B = self.label_S[self.ids]
        return label_B, torch.full(label_B.shape, task == "verb")


def test_right_labels_teach_and_random_ones_harm() -> None:
    """Pseudo-labels of which 90 % are right gain over the source alone in each of eight seeds; random ones lose."""
    for seed in range(8):
        data = shifted(seed)
        begun = trained(model(seed), None, data, 50, 0.03)
        draw = torch.Generator().manual_seed(seed)
        random = torch.randint(6, (240,), generator=draw)
        right = torch.where(torch.rand(240, generator=draw) < 0.1, random, data["label"])
        scores = []
        for label in (right, None, random):
            net = copy.deepcopy(begun)
            training = None if label is None else Planted.for_model(net, section(SelfTrainingAdaptation)).give(label)
            trained(net, training, data, 50, 0.03)
            predicted = net.eval()({"rgb": data["target"]}).verb_logits_BV.argmax(1)
            scores.append((predicted == data["label"]).float().mean().item())
        assert scores[0] > scores[1] > scores[2], (seed, scores)


def test_the_strong_view_leaves_a_share_out_and_the_rest_alone() -> None:
    training = method(model(), strong_drop=0.25)
    draw = torch.Generator().manual_seed(0)
    ones = torch.ones(200, 50)
    given = {"rgb": ones, "present": ones}
    strong = training.strong_view(given, draw)
    assert strong["present"] is ones
    assert strong["rgb"].unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert strong["rgb"].mean().item() == pytest.approx(1, abs=0.02)
    video = torch.full((6, 3, 4, 20, 40), 9, dtype=torch.uint8)
    seen = training.strong_view({"rgb": video}, draw)["rgb"]
    assert seen.dtype == torch.uint8
    changed = (seen != video).any(dim=1)
    assert changed.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.25] * 6)
    assert torch.equal(changed.all(dim=1), changed.any(dim=1)), "the same box in all frames"
    assert len({tuple(row.nonzero()[0].tolist()) for row in changed[:, 0]}) > 1
    assert seen[changed.unsqueeze(1).expand_as(seen)].unique().tolist() == [104, 116, 124]
    assert method(model(), strong_drop=0.0).strong_view(given, draw)["rgb"] is ones


def test_lists_without_nouns_leave_nouns_alone() -> None:
    training = SelfTraining.for_model(model(), section(SelfTrainingAdaptation))
    training.count_labels(VERB_S, torch.full_like(VERB_S, -1))
    assert training.get_buffer("log_ratio_VN").abs().max() == 0
    assert training.get_buffer("noun_prior").unique().tolist() == pytest.approx([1 / 300])


def test_a_step_without_the_clips_is_refused() -> None:
    net = model()
    output = net(clips(1))
    with pytest.raises(AdaptationError, match="as they were read"):
        method(net).losses(batch_of(output.features, output.features))
