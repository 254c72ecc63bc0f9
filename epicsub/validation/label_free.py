"""Scores of a model on a list whose labels may not be read, for choosing among checkpoints. Higher is better.

Labels are read of a held-out list of the source alone: for the temperature, for DEV's losses, and for SRC.

| score | what |
|---|---|
| ENT | minus the mean entropy of predictions |
| PRIOR | the same, less the divergence of the mean prediction from the source's shares of classes [D] |
| IM | entropy of the mean prediction less the mean entropy (information maximisation) |
| BNM | nuclear norm of the predictions over N (batch nuclear norm maximisation, 2003.12237) |
| SND | soft neighbourhood density (2108.10860): entropy of similarities to the other segments |
| DEV | minus the source risk weighted by a domain classifier, with a control variate (1905.13150) |
| SRC | accuracy on the held-out source, in percent |

- Every checkpoint's temperature is fitted first, on the held-out source: a checkpoint that is surer of itself is not a
  better one. Verbs and nouns have a temperature each.
- A long tail inverts IM and BNM: on EPIC-KITCHENS-100's verbs a perfect classifier has IM 2.80 and BNM 0.057, confident
  nonsense over all classes alike 4.57 and 0.100. They are given for comparison.
- Self-training minimises entropy: compare ENT within a method only.
- DEV's published form classifies a network's features; predictions have none, so the classifier reads log-probabilities
  [D], their first principal components, and each half of the segments is weighted by a classifier of the other half.
- Of verbs and nouns the scores are added, which for ENT, PRIOR and IM is the score of their product.

[D] our own choice.

Letters: N segments, K classes, S segments of the held-out source, D entries of a classifier's input.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from epicsub.predictions import Predictions

SMALLEST = 1e-12
NEIGHBOUR_TEMPERATURE = 0.05
COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are tried
RIDGE = 1.0  # of the domain classifier, in all
ROWS_PER_INPUT = 20  # of the domain classifier: it reads so many principal components, or its weights are of chance
_ROWS = 1024
SCORES = ("ENT", "PRIOR", "IM", "BNM", "SND", "DEV", "SRC")


def mean_entropy(p_NK: np.ndarray) -> float:
    """Mean entropy of predictions.

    Args:
        p_NK: probabilities.

    Returns:
        Nats.
    """
    return float(_entropies(p_NK).mean())


def prior_score(p_NK: np.ndarray, prior_K: np.ndarray) -> float:
    """Compute PRIOR.

    Args:
        p_NK: probabilities.
        prior_K: the source's shares of classes; a class of share 0 counts as one of 1e-12.

    Returns:
        -KL(mean prediction || prior) less the mean entropy, in nats.
    """
    mean_K = p_NK.mean(axis=0)
    divergence = (mean_K * (np.log(mean_K.clip(SMALLEST)) - np.log(prior_K.clip(SMALLEST)))).sum()
    return float(-divergence) - mean_entropy(p_NK)


def information(p_NK: np.ndarray) -> float:
    """Compute IM.

    Args:
        p_NK: probabilities.

    Returns:
        Nats.
    """
    return float(_entropies(p_NK.mean(axis=0, keepdims=True))[0]) - mean_entropy(p_NK)


def nuclear_norm(p_NK: np.ndarray) -> float:
    """Compute BNM.

    Args:
        p_NK: probabilities.

    Returns:
        The sum of singular values over N.
    """
    return float(np.linalg.svd(p_NK, compute_uv=False).sum() / len(p_NK))


def neighbourhood_density(p_NK: np.ndarray, temperature: float = NEIGHBOUR_TEMPERATURE) -> float:
    """Compute SND.

    Args:
        p_NK: probabilities, of two segments or more.
        temperature: of the similarities.

    Returns:
        Mean entropy, in nats, of each segment's softmax over its cosines with the others.
    """
    unit_NK = p_NK / np.linalg.norm(p_NK, axis=1, keepdims=True)
    total = 0.0
    for begin in range(0, len(unit_NK), _ROWS):
        rows = np.arange(begin, min(begin + _ROWS, len(unit_NK)))
        similar_RN = unit_NK[rows] @ unit_NK.T / temperature
        similar_RN[np.arange(len(rows)), rows] = -np.inf
        total += float(_entropies(_softmax(similar_RN)).sum())
    return total / len(unit_NK)


def weighted_risk(loss_S: np.ndarray, weight_S: np.ndarray) -> float:
    """Estimate the target's risk from the source's, with the weights' mean as control variate.

    Args:
        loss_S: of held-out source segments.
        weight_S: density of the target over that of the source at each.

    Returns:
        The risk; DEV is minus it.
    """
    weighted_S = weight_S * loss_S
    variance = float(weight_S.var(ddof=1))
    eta = 0.0 if variance == 0 else -float(np.cov(weighted_S, weight_S)[0, 1]) / variance
    return float(weighted_S.mean() + eta * weight_S.mean() - eta)


def density_ratio(source_SD: np.ndarray, target_ND: np.ndarray) -> np.ndarray:
    """Estimate how much more probable the target makes each source segment, by a logistic regression.

    Args:
        source_SD: of two segments or more.
        target_ND: of two segments or more.

    Returns:
        (S,) ratios; each half is given by a classifier of the other half.
    """
    ratio_S = np.empty(len(source_SD))
    for half in (0, 1):
        of_S, of_N = (np.arange(len(x)) % 2 == half for x in (source_SD, target_ND))
        ratio_S[of_S] = _ratio(source_SD[~of_S], target_ND[~of_N], source_SD[of_S])
    return ratio_S


def fit_temperature(logprobs_SK: np.ndarray, label_S: np.ndarray) -> float:
    """Find the temperature with the least cross-entropy.

    Args:
        logprobs_SK: log-probabilities of held-out segments.
        label_S: their classes.

    Returns:
        What logits are divided by, from 0.05 to 20.
    """

    def loss(log_temperature: float) -> float:
        tempered_SK = _log_softmax(logprobs_SK / np.exp(log_temperature))
        return -float(tempered_SK[np.arange(len(label_S)), label_S].mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


@dataclass(frozen=True)
class LabelFree:
    """What one model is worth on a list without labels."""

    scores: dict[str, float]
    """By the names of `SCORES`: verb and noun added; of SRC, the action."""
    by_task: dict[str, dict[str, float]]
    """The same of verb and noun."""
    temperatures: dict[str, float]
    """Fitted on the held-out source, of verb and noun."""

    def as_json(self) -> dict[str, dict[str, float] | dict[str, dict[str, float]]]:
        """The figures as plain numbers.

        Returns:
            scores, by_task and temperatures.
        """
        return {"scores": self.scores, "by_task": self.by_task, "temperatures": self.temperatures}


def label_free(
    target: Predictions, held_out: Predictions, labels: Mapping[str, np.ndarray], priors: Mapping[str, np.ndarray]
) -> LabelFree:
    """Score predictions for a list whose labels nobody reads.

    Args:
        target: predictions for it, two or more.
        held_out: predictions of the same model for labelled source segments that it was not trained on, two or more.
        labels: verb, and noun unless there are verbs alone, (S,) of these.
        priors: shares of classes in training, of each of `labels`.

    Returns:
        Scores by name.
    """
    by_task, temperatures, right_S = {}, {}, np.ones(len(held_out), dtype=bool)
    for task, label_S in labels.items():
        of_target, of_source = (getattr(one, f"{task}_logprobs").astype(np.float64) for one in (target, held_out))
        temperature = fit_temperature(of_source, label_S)
        source_SK, target_NK = (_log_softmax(one / temperature) for one in (of_source, of_target))
        hits_S = source_SK.argmax(axis=1) == label_S
        right_S &= hits_S
        p_NK, loss_S = np.exp(target_NK), -source_SK[np.arange(len(label_S)), label_S]
        by_task[task] = {
            "ENT": -mean_entropy(p_NK),
            "PRIOR": prior_score(p_NK, priors[task]),
            "IM": information(p_NK),
            "BNM": nuclear_norm(p_NK),
            "SND": neighbourhood_density(p_NK),
            "DEV": -weighted_risk(loss_S, density_ratio(source_SK, target_NK)),
            "SRC": 100 * float(hits_S.mean()),
        }
        temperatures[task] = temperature
    scores = {name: sum(of[name] for of in by_task.values()) for name in SCORES}
    return LabelFree(scores | {"SRC": 100 * float(right_S.mean())}, by_task, temperatures)


def _entropies(p_NK: np.ndarray) -> np.ndarray:
    entropy_N: np.ndarray = -(p_NK * np.log(p_NK.clip(SMALLEST))).sum(axis=1)
    return entropy_N


def _log_softmax(x_NK: np.ndarray) -> np.ndarray:
    below_NK = x_NK - x_NK.max(axis=1, keepdims=True)
    logs_NK: np.ndarray = below_NK - np.log(np.exp(below_NK).sum(axis=1, keepdims=True))
    return logs_NK


def _softmax(x_NK: np.ndarray) -> np.ndarray:
    p_NK: np.ndarray = np.exp(x_NK - x_NK.max(axis=1, keepdims=True))
    p_NK /= p_NK.sum(axis=1, keepdims=True)
    return p_NK


def _ratio(source_SD: np.ndarray, target_ND: np.ndarray, asked_MD: np.ndarray) -> np.ndarray:
    """p(target | x) / p(source | x) S / N, of a classifier of both sets."""
    both = np.concatenate([source_SD, target_ND])
    mean_D, scale_D = both.mean(axis=0), both.std(axis=0).clip(1e-6)
    axes_ED = np.linalg.svd((both - mean_D) / scale_D, full_matrices=False)[2][: max(1, len(both) // ROWS_PER_INPUT)]

    def seen(rows: np.ndarray) -> np.ndarray:
        components: np.ndarray = ((rows - mean_D) / scale_D) @ axes_ED.T
        return np.column_stack([components, np.ones(len(rows))])

    x = seen(both)
    sign = np.repeat([-1.0, 1.0], [len(source_SD), len(target_ND)])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ w)
        slope = -sign / (1 + np.exp(margin.clip(-500, 500)))
        ridge = RIDGE * np.r_[w[:-1], 0.0]
        return float(np.logaddexp(0, -margin).sum() + 0.5 * ridge @ w), x.T @ slope + ridge

    w = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x
    logit = seen(asked_MD) @ w
    ratio: np.ndarray = np.exp(logit.clip(-50, 50)) * len(source_SD) / len(target_ND)
    return ratio
