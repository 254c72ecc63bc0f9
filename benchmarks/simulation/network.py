"""The small two-stream networks of the simulation.

Classes stand as verbs; the one noun there is costs nothing and tells nothing. Every arm has `TwoStream`, but for those
whose method asks for another network: MCD for a second classifier, AdaBN for batch norm, TA3N for frames. The last two
have a control of their own, since their network alone makes a difference.

Shapes: B instances, d features in, D features out, V classes, F frames.
"""

from typing import cast

import torch
from torch import Tensor, nn

from epicsub.models.heads import Classes, TwoHeadOutput
from epicsub.models.temporal_relations import TemporalRelations
from epicsub.models.two_classifiers import TwoClassifiers
from simulation.generator import CLASSES, DIM, FRAMES, MODALITIES

HIDDEN, FEATURES = 48, 32
FEATURE_DIMS = dict.fromkeys(MODALITIES, FEATURES)
FRAME_DIMS = dict.fromkeys(MODALITIES, HIDDEN)


class TwoStream(nn.Module):
    """For each modality d-48-32 features and a linear head; the logits of the streams are summed (MMIR Eq 1).

    Args:
        batch_norm: after the first layer.
    """

    def __init__(self, batch_norm: bool = False) -> None:
        super().__init__()
        self.feature_dims = dict(FEATURE_DIMS)
        self.streams = nn.ModuleDict({m: _stream(batch_norm) for m in MODALITIES})
        self.heads = nn.ModuleDict({m: nn.ModuleDict({"verb_head": nn.Linear(FEATURES, CLASSES)}) for m in MODALITIES})

    def features(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """(B, D) per modality."""
        return {m: stream(x[m]) for m, stream in self.streams.items()}

    def classify(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, V) of the classes and (B, 1) of the one noun."""
        heads = {m: cast(nn.ModuleDict, head)["verb_head"] for m, head in self.heads.items()}
        logits_BV = torch.stack([head(torch.relu(features[m])) for m, head in heads.items()]).sum(0)
        return logits_BV, logits_BV.new_zeros(len(logits_BV), 1)

    def forward(self, x: dict[str, Tensor]) -> TwoHeadOutput:
        """Classify a batch."""
        features = self.features(x)
        return TwoHeadOutput(*self.classify(features), features)


class Pair(TwoClassifiers):
    """The network with a second classifier, which reads the features through a ReLU as the first does."""

    def second_logits(self, features: dict[str, Tensor]) -> TwoHeadOutput:
        """What the second heads say of features (B, D)."""
        return super().second_logits({m: torch.relu(f_BD) for m, f_BD in features.items()})


def pair() -> Pair:
    """For MCD."""
    return Pair(TwoStream(), dropout=0.0, classes=Classes(CLASSES, 1))


def normalised() -> TwoStream:
    """For AdaBN."""
    return TwoStream(batch_norm=True)


def relations(attention: bool = True) -> TemporalRelations:
    """For TA3N, of the sizes of `TwoStream`; it reads frames (B, F, d)."""
    dims = dict.fromkeys(MODALITIES, DIM)
    return TemporalRelations(dims, FRAMES, HIDDEN, FEATURES, 0.0, attention, Classes(CLASSES, 1))


def _stream(batch_norm: bool) -> nn.Sequential:
    norm = [nn.BatchNorm1d(HIDDEN)] if batch_norm else []
    return nn.Sequential(nn.Linear(DIM, HIDDEN), *norm, nn.ReLU(), nn.Linear(HIDDEN, FEATURES))
