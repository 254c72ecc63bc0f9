"""The small two-stream network of the simulation. Shapes: B instances, d features in, D features out, V classes."""

import torch
from torch import Tensor, nn

from epicsub.models import TwoHeadOutput
from simulation.generator import CLASSES, DIM, MODALITIES

HIDDEN, FEATURES = 48, 32
FEATURE_DIMS = dict.fromkeys(MODALITIES, FEATURES)


class TwoStream(nn.Module):
    """For each modality d-48-32 features and a linear head; the logits of the streams are summed (MMIR Eq 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(DIM, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, FEATURES)) for m in MODALITIES}
        )
        self.heads = nn.ModuleDict({m: nn.Linear(FEATURES, CLASSES) for m in MODALITIES})

    def features(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """(B, D) a modality."""
        return {m: stream(x[m]) for m, stream in self.streams.items()}

    def logits(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """(B, V) a modality."""
        return {m: head(torch.relu(features[m])) for m, head in self.heads.items()}


def output_of(net: TwoStream, x: dict[str, Tensor]) -> TwoHeadOutput:
    """Classes stand as verbs; the one noun there is costs nothing and tells nothing."""
    features = net.features(x)
    logits_BV = torch.stack(list(net.logits(features).values())).sum(0)
    return TwoHeadOutput(logits_BV, logits_BV.new_zeros(len(logits_BV), 1), features)
