"""How well an instance fits the task, for refinement that does not ask the discriminator. Ours, NOT the MMIR paper's.

The paper pays an agent +1 for an instance whose relevance Delta is below 0.5, and Delta comes from the discriminator
that gradient reversal keeps near chance: in benchmarks/simulation such a reward hardly marks planted outliers. Here

- source: the entropy of the class prediction, verbs plus nouns. After stage 1 the model has seen the label of every
  source clip many times; where it is still undecided, the clip does not show what its label says.
- target: the distance to the nearest source class, in the covariance that source clips have around their class means
  (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS
  2018): what resembles no class of the source cannot be aligned with one.

Class means and covariance are running sums over source batches, of detached features. No target label is read. The
covariance's inverse follows them by Woodbury's identity, a batch at a time, and is made anew every `ANEW` updates:
factorising 1024 x 1024 numbers in every step would take longer than all else of it.

Shapes: B instances (Bs of the source, Bt of the target), D features, V classes.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from epicsub.adaptation.interface import at_least_float32
from epicsub.models.heads import TwoHeadOutput, count_unmasked
from epicsub.recipe.adaptation import RewardsSection

MEMORY = 0.98  # a step's weight in the running sums a step later: about 50 steps are remembered
SHRINKAGE = 0.05  # of the covariance to a multiple of the identity, set whenever its inverse is made anew
ANEW = 16  # updates between two inverses; the first as many are all made anew, while most of the sums is new
LEAST_SPREAD = 1e-12  # where all instances of a batch are the same
SEEN = 1e-6  # weight under which a class counts as not seen


def entropy(logits_BV: Tensor) -> Tensor:
    """Entropy of the softmax.

    Args:
        logits_BV: of one head.

    Returns:
        Nats, (B,).
    """
    terms_BV: Tensor = torch.special.entr(logits_BV.float().softmax(1))
    return terms_BV.sum(1)


def certainty(output: TwoHeadOutput) -> Tensor:
    """1 minus the entropy of verbs plus nouns over its largest value: 0 for no idea, 1 for one class of each.

    Of the classes that no mask excludes: with eight verbs and no nouns ln 8 is the largest value.

    Args:
        output: of one domain.

    Returns:
        (B,).
    """
    heads = [at_least_float32(logits) for logits in (output.verb_logits_BV, output.noun_logits_BN)]
    counts = torch.stack([count_unmasked(logits) for logits in heads])
    found_B = torch.stack([entropy(logits) * (n > 1) for logits, n in zip(heads, counts, strict=True)]).sum(0)
    return 1.0 - found_B / counts.log().sum().clamp(min=LEAST_SPREAD)


def ranks(values_B: Tensor) -> Tensor:
    """Ranks within a batch.

    Args:
        values_B: any.

    Returns:
        (B,): 0 for the smallest, B - 1 for the largest.
    """
    return values_B.argsort().argsort()


def threshold_reward(delta_B: Tensor, tau: float, quantile: float | None = None, continuous: bool = False) -> Tensor:
    """MMIR's Eq 4: +1 for removing an instance of low relevance (Delta < tau), -1 otherwise; and two variants of ours.

    Args:
        delta_B: relevance of a batch in one modality and domain.
        tau: the threshold.
        quantile: of the batch's Delta, in place of `tau`; so a set share of removals is paid.
        continuous: (tau - Delta) in standard deviations of the batch's Delta, cut at -1 and 1, in place of the sign.

    Returns:
        (B,).
    """
    threshold = delta_B.new_tensor(tau) if quantile is None else delta_B.quantile(quantile)
    if not continuous:
        return torch.where(delta_B < threshold, 1.0, -1.0)
    return ((threshold - delta_B) / delta_B.std().clamp(min=LEAST_SPREAD)).clamp(-1.0, 1.0)


class ClassStatistics(nn.Module):
    """Running class means and the covariance around them, of one modality's source features.

    Args:
        classes: V.
        dim: D.
    """

    sums: Tensor
    """(V, D)"""
    weights: Tensor
    """(V,) instances, faded."""
    scatter: Tensor
    """(D, D)"""
    total: Tensor
    """Instances, faded."""
    inverse: Tensor
    """(D, D) of the scatter with its shrinkage, which fades as the scatter does until it is set anew."""

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(classes, dim))
        self.register_buffer("weights", torch.zeros(classes))
        self.register_buffer("scatter", torch.zeros(dim, dim))
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("inverse", torch.zeros(dim, dim))
        self.updates = 0

    def get_extra_state(self) -> Tensor:
        """Number of updates, which the host has to know.

        Returns:
            A scalar.
        """
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over a number of updates.

        Args:
            state: a scalar.
        """
        self.updates = int(state)

    @torch.no_grad()
    def update(self, features_BD: Tensor, labels_B: Tensor) -> None:
        """Fade the sums, and add a batch.

        Args:
            features_BD: of source instances.
            labels_B: their classes.
        """
        features_BD = features_BD.detach().to(self.sums.dtype)
        for sums in (self.sums, self.weights, self.scatter, self.total):
            sums.mul_(MEMORY)
        self.sums.index_add_(0, labels_B, features_BD)
        self.weights.index_add_(0, labels_B, torch.ones_like(features_BD[:, 0]))
        apart_BD = features_BD - self.sums[labels_B] / self.weights[labels_B, None]
        self.scatter.addmm_(apart_BD.T, apart_BD)
        self.total += len(features_BD)
        if self.updates < ANEW or self.updates % ANEW == 0:
            self._invert()
        else:
            self._add_to_inverse(apart_BD)
        self.updates += 1

    def _invert(self) -> None:
        """Invert the scatter with its shrinkage; without a check, for which the host would wait."""
        level = SHRINKAGE * self.scatter.diagonal().mean().clamp(min=LEAST_SPREAD * self.total)
        eye_DD = torch.eye(len(self.scatter), device=self.scatter.device, dtype=self.scatter.dtype)
        root_DD, _ = torch.linalg.cholesky_ex(self.scatter + level * eye_DD)
        self.inverse.copy_(torch.cholesky_inverse(root_DD))

    def _add_to_inverse(self, apart_BD: Tensor) -> None:
        """Woodbury: (m A + X'X)^-1 = P - P X' (1 + X P X')^-1 X P, where P = A^-1 / m."""
        self.inverse.div_(MEMORY)
        moved_BD = apart_BD @ self.inverse
        eye_BB = torch.eye(len(apart_BD), device=apart_BD.device, dtype=apart_BD.dtype)
        root_BB, _ = torch.linalg.cholesky_ex(eye_BB + moved_BD @ apart_BD.T)
        white_BD = torch.linalg.solve_triangular(root_BB, moved_BD, upper=False)
        self.inverse.addmm_(white_BD.T, white_BD, alpha=-1.0)

    @torch.no_grad()
    def distance(self, features_BD: Tensor) -> Tensor:
        """Squared Mahalanobis distance to the nearest class mean that was seen.

        Args:
            features_BD: of any instances.

        Returns:
            (B,).
        """
        means_VD = self.sums / self.weights.clamp(min=SEEN)[:, None]
        origin_D = self.sums.sum(0) / self.weights.sum()  # near all of them: large equal parts would cost digits
        points_BD, means_VD = features_BD.detach().to(self.sums.dtype) - origin_D, means_VD - origin_D
        seen_VD, seen_BD = means_VD @ self.inverse, points_BD @ self.inverse
        own_B, own_V = (seen_BD * points_BD).sum(1), (seen_VD * means_VD).sum(1)
        apart_BV = own_B[:, None] + own_V - 2 * seen_BD @ means_VD.T
        return self.total * apart_BV.masked_fill(self.weights <= SEEN, torch.inf).amin(1).clamp(min=0)


class TaskStatistics(nn.ModuleDict):
    """`ClassStatistics` per modality.

    Args:
        feature_dims: D of each modality.
        classes: V, verb classes.
    """

    def __init__(self, feature_dims: Mapping[str, int], classes: int) -> None:
        super().__init__({modality: ClassStatistics(classes, dim) for modality, dim in feature_dims.items()})

    def learn(self, source: TwoHeadOutput, verb_B: Tensor) -> None:
        """Add a source batch.

        Args:
            source: of the labelled clips.
            verb_B: their labels.
        """
        for modality, module in self.items():
            cast(ClassStatistics, module).update(source.features[modality], verb_B)

    def distance_ranks(self, target: TwoHeadOutput) -> dict[str, Tensor]:
        """Ranks of the distance to the nearest source class.

        Args:
            target: of one batch.

        Returns:
            (Bt,) per modality; B - 1 for the farthest.
        """
        return {m: ranks(cast(ClassStatistics, s).distance(target.features[m])) for m, s in self.items()}


class TaskRewards(nn.Module):
    """Rewards for MMIR's agents by the task: relevance is certainty on the source, nearness on the target.

    Args:
        settings: the recipe's section.
        feature_dims: D of each modality.
        classes: V, verb classes.
    """

    def __init__(self, settings: RewardsSection, feature_dims: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.statistics = TaskStatistics(feature_dims, classes)

    @torch.no_grad()
    def deltas(self, source: TwoHeadOutput, target: TwoHeadOutput) -> dict[str, Tensor]:
        """Relevance Delta of every instance.

        Args:
            source: of one batch.
            target: of one batch.

        Returns:
            (B,) by agent's name; on the target 1 minus the scaled rank of the distance, 0 for the farthest.
        """
        deltas = {f"{modality}_source": certainty(source) for modality in source.features}
        for modality, rank_B in self.statistics.distance_ranks(target).items():
            dtype = at_least_float32(target.features[modality]).dtype
            deltas[f"{modality}_target"] = 1.0 - rank_B.to(dtype) / max(len(rank_B) - 1, 1)
        return deltas

    def rewards(self, delta_B: Tensor, tau: float) -> Tensor:
        """Reward for the removal of each instance.

        Args:
            delta_B: relevance of a batch in one modality and domain.
            tau: the fixed threshold.

        Returns:
            (B,).
        """
        return threshold_reward(delta_B, tau, self.settings.quantile, self.settings.continuous)
