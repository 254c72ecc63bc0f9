"""What the task says of an instance, for refinement that does not ask the discriminator. Ours, NOT the MMIR paper's.

Shapes: B instances, D features, V classes.
"""

import torch
from torch import Tensor, nn

MEMORY = 0.98  # a step's weight in the running sums a step later: about 50 steps are remembered
SHRINKAGE = 0.05  # of the covariance to a multiple of the identity
LEAST_VARIANCE = 1e-12  # where all features of a batch are the same
SEEN = 1e-6  # weight under which a class counts as not seen


def entropy(logits_BV: Tensor) -> Tensor:
    """Of the softmax, in nats, (B,)."""
    return torch.special.entr(logits_BV.float().softmax(1)).sum(1)


def ranks(values_B: Tensor) -> Tensor:
    """0 for the smallest, B - 1 for the largest."""
    return values_B.argsort().argsort()


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

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(classes, dim))
        self.register_buffer("weights", torch.zeros(classes))
        self.register_buffer("scatter", torch.zeros(dim, dim))
        self.register_buffer("total", torch.zeros(()))

    @torch.no_grad()
    def update(self, features_BD: Tensor, labels_B: Tensor) -> None:
        """Fade what was, and add a batch."""
        features_BD = features_BD.detach().float()
        for buffer in self.buffers():
            buffer.mul_(MEMORY)
        self.sums.index_add_(0, labels_B, features_BD)
        self.weights.index_add_(0, labels_B, torch.ones_like(features_BD[:, 0]))
        apart_BD = features_BD - self.sums[labels_B] / self.weights[labels_B, None]
        self.scatter += apart_BD.T @ apart_BD
        self.total += len(features_BD)

    @torch.no_grad()
    def distance(self, features_BD: Tensor) -> Tensor:
        """Squared Mahalanobis distance to the nearest class mean that was seen, (B,)."""
        seen_V = self.weights > SEEN
        means_CD = self.sums[seen_V] / self.weights[seen_V, None]
        covariance_DD = self.scatter / self.total
        scale = covariance_DD.diagonal().mean().clamp(min=LEAST_VARIANCE)
        eye_DD = torch.eye(len(covariance_DD), device=covariance_DD.device)
        root_DD = torch.linalg.cholesky(covariance_DD + SHRINKAGE * scale * eye_DD)
        points = torch.cat([features_BD.detach().float(), means_CD]).T
        white = torch.linalg.solve_triangular(root_DD, points, upper=False).T
        return torch.cdist(white[: len(features_BD)], white[len(features_BD) :]).square().min(1).values
