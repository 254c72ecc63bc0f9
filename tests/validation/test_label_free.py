"""Label-free scores against loops and closed forms, what a long tail does to them, and what a temperature mends."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from epicsub.predictions import Predictions
from epicsub.validation.label_free import (
    SCORES,
    density_ratio,
    fit_temperature,
    information,
    label_free,
    mean_entropy,
    neighbourhood_density,
    nuclear_norm,
    prior_score,
    weighted_risk,
)


def drawn(n: int, k: int, seed: int, scale: float = 2.0) -> np.ndarray:
    x = scale * np.random.default_rng(seed).normal(size=(n, k))
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


def entropy(row) -> float:
    return -sum(p * math.log(p) for p in row if p > 0)


def test_formulas_equal_loops() -> None:
    p, prior = drawn(7, 5, 0), drawn(1, 5, 1)[0]
    mean = [sum(column) / 7 for column in p.T.tolist()]
    each = sum(entropy(row) for row in p.tolist()) / 7
    assert mean_entropy(p) == pytest.approx(each)
    assert information(p) == pytest.approx(entropy(mean) - each)
    divergence = sum(m * math.log(m / q) for m, q in zip(mean, prior, strict=True))
    assert prior_score(p, prior) == pytest.approx(-divergence - each)
    assert nuclear_norm(p) == pytest.approx(np.sqrt(np.linalg.eigvalsh(p.T @ p).clip(0)).sum() / 7)
    total = 0.0
    for i, one in enumerate(p):
        cosines = [one @ other / math.sqrt(one @ one) / math.sqrt(other @ other) for j, other in enumerate(p) if j != i]
        odds = [math.exp(c / 0.05) for c in cosines]
        total += entropy([o / sum(odds) for o in odds])
    assert neighbourhood_density(p) == pytest.approx(total / 7)


def test_neighbours_are_counted_in_pieces_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    p = drawn(11, 4, 3)
    whole = neighbourhood_density(p)
    monkeypatch.setattr("epicsub.validation.label_free._ROWS", 3)
    assert neighbourhood_density(p) == pytest.approx(whole)


def test_dev_equals_a_loop_and_constant_weights_give_the_mean() -> None:
    rng = np.random.default_rng(0)
    loss, weight = rng.random(9), rng.random(9)
    wl = (weight * loss).tolist()
    mean_wl, mean_w = sum(wl) / 9, sum(weight) / 9
    cov = sum((a - mean_wl) * (b - mean_w) for a, b in zip(wl, weight.tolist(), strict=True)) / 8
    eta = -cov / (sum((b - mean_w) ** 2 for b in weight.tolist()) / 8)
    assert weighted_risk(loss, weight) == pytest.approx(mean_wl + eta * mean_w - eta)
    assert weighted_risk(loss, np.ones(9)) == pytest.approx(loss.mean())


def test_dev_on_equal_domains_is_the_risk_and_on_shifted_ones_the_targets() -> None:
    """Within two standard errors; the loss grows with x, and the target has more of it."""
    rng = np.random.default_rng(1)
    x_source, x_same, x_target = rng.normal(size=(600, 2)), rng.normal(size=(600, 2)), rng.normal(0.5, 1, (600, 2))
    loss = np.log1p(np.exp(x_source[:, 0]))
    error = loss.std() / math.sqrt(600)
    population = np.log1p(np.exp(rng.normal(size=1_000_000))).mean()
    same = weighted_risk(loss, density_ratio(x_source, x_same))
    assert same == pytest.approx(population, abs=2 * error)
    true = np.log1p(np.exp(x_target[:, 0])).mean()
    shifted = weighted_risk(loss, density_ratio(x_source, x_target))
    assert abs(shifted - true) < abs(loss.mean() - true) / 2
    assert density_ratio(x_source, x_same[:300]).mean() == pytest.approx(1, abs=0.1), "of sets of unequal size too"


def test_the_temperature_undoes_what_was_done_to_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 6)) * 2
    label = np.array([rng.choice(6, p=np.exp(row) / np.exp(row).sum()) for row in logits])
    for scale in (0.25, 1.0, 4.0):
        assert fit_temperature(logits * scale, label) == pytest.approx(scale, rel=0.06)


def test_a_long_tail_inverts_what_asks_for_all_classes_alike(shared_data: Path) -> None:
    """On the real verbs a perfect classifier has IM 2.80 and BNM 0.057, confident uniform nonsense 4.57 and 0.100."""
    verbs = pd.read_csv(shared_data / "epic-100-annotations" / "EPIC_100_validation.csv")["verb_class"].to_numpy()
    perfect = np.eye(97)[verbs]
    nonsense = np.eye(97)[np.arange(len(verbs)) % 97]
    found = [round(score, 2) for p in (perfect, nonsense) for score in (information(p), nuclear_norm(p))]
    assert found == [2.80, 0.06, 4.57, 0.10]
    prior = np.bincount(verbs, minlength=97) / len(verbs)
    assert prior_score(perfect, prior) > prior_score(nonsense, prior)


def model_of(quality: float, sharpness: float, seed: int, tail: np.ndarray) -> tuple[Predictions, Predictions, dict]:
    """A model's predictions for a target and a held-out source of 150 segments each, and its true labels."""
    rng = np.random.default_rng(seed)
    made, labels = [], []
    for domain, drop in (("t", 0.6), ("s", 0.0)):
        label = {"verb": rng.choice(97, 150, p=tail), "noun": rng.choice(97, 150, p=tail)}
        scores = {}
        for task, classes in (("verb", 97), ("noun", 300)):
            logits = rng.normal(size=(150, classes))
            logits[np.arange(150), label[task]] += quality - drop + rng.normal(0, 1.5, 150)
            scores[task] = sharpness * logits
        ids = [f"P01_{domain}_{row}" for row in range(150)]
        made.append(Predictions.from_scores(ids, scores["verb"], scores["noun"]))
        labels.append(label)
    return made[0], made[1], {"target": labels[0], "source": labels[1]}


def test_after_the_temperature_entropy_ranks_models_of_any_sharpness() -> None:
    """And before it does not."""
    rng = np.random.default_rng(0)
    tail = 1 / np.arange(1, 98) ** 1.2
    tail /= tail.sum()
    accuracy, raw, fitted = [], [], []
    for number in range(14):
        target, source, label = model_of(rng.uniform(1, 5), math.exp(rng.uniform(-1, 1.2)), number, tail)
        priors = {"verb": tail, "noun": np.r_[tail, np.zeros(203)]}
        found = label_free(target, source, label["source"], priors)
        assert set(found.scores) == set(SCORES)
        assert found.scores["ENT"] == pytest.approx(found.by_task["verb"]["ENT"] + found.by_task["noun"]["ENT"])
        accuracy.append((target.verb_logprobs.argmax(1) == label["target"]["verb"]).mean())
        raw.append(-mean_entropy(np.exp(target.verb_logprobs)))
        fitted.append([found.by_task["verb"][name] for name in ("ENT", "PRIOR")])
    for column in np.array(fitted).T:
        assert spearmanr(column, accuracy).statistic > 0.8
    assert spearmanr(raw, accuracy).statistic < 0.8


def test_verbs_alone() -> None:
    target, source, label = model_of(3.0, 1.0, 0, np.full(97, 1 / 97))
    found = label_free(target, source, {"verb": label["source"]["verb"]}, {"verb": np.full(97, 1 / 97)})
    assert list(found.by_task) == ["verb"]
    assert found.scores["SRC"] == found.by_task["verb"]["SRC"]
