"""A timm image backbone on every frame, a bidirectional LSTM over time, the mean over time, two heads.

Attribute names (backbone, temporal, verb_head, noun_head) are those of the group's earlier ResNet-50 + LSTM model, and
timm's ResNet names its tensors as torchvision's does, so those checkpoints differ by the two `normalise` buffers only.

Shapes: B clips, C = 3 channels, T frames, H, W pixels; D = 2 * hidden features; V verbs, N nouns.
"""

from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.models.normalise import from_unit_range
from epicsub.models.outputs import TwoHeadOutput
from epicsub.vocab import NUM_NOUNS, NUM_VERBS


def build_backbone(name: str) -> nn.Module:
    """A timm image model without its classifier, with random weights.

    Raises:
        ModelError: timm has no model of this name; the nearest names are listed.
    """
    try:
        return timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        near = timm.list_models(f"*{name.partition('.')[0][:6]}*")[:5]
        raise ModelError(
            f"backbone {name!r}: {error}; near it are {', '.join(near) or 'none'}; `timm.list_models()` lists all"
        ) from error


class FrameLSTM(nn.Module):
    """Frames one by one through an image model, then a bidirectional LSTM. RGB only.

    Args:
        backbone: timm name, e.g. resnet50.a1_in1k.
        hidden: LSTM units in each direction.
        layers: LSTM layers.
        dropout: probability between LSTM layers (so without effect for one layer).
        num_verbs: verb classes, V.
        num_nouns: noun classes, N.

    Raises:
        ModelError: timm has no such backbone.
    """

    modalities = ("rgb",)

    def __init__(
        self,
        backbone: str,
        hidden: int = 1024,
        layers: int = 2,
        dropout: float = 0.3,
        num_verbs: int = NUM_VERBS,
        num_nouns: int = NUM_NOUNS,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        published: Mapping[str, Any] = self.backbone.pretrained_cfg  # type: ignore[assignment]
        self.normalise = from_unit_range(published["mean"], published["std"])
        self.temporal = nn.LSTM(
            self.backbone.num_features,
            hidden,
            layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.verb_head = nn.Linear(2 * hidden, num_verbs)
        self.noun_head = nn.Linear(2 * hidden, num_nouns)
        self.feature_dims: dict[str, int] = {"rgb": 2 * hidden}

    def classify(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Verb and noun logits, (B, V) and (B, N), of pooled features {"rgb": (B, D)}."""
        return self.verb_head(features["rgb"]), self.noun_head(features["rgb"])

    def forward(self, clips: dict[str, Tensor]) -> TwoHeadOutput:
        """Classify a batch.

        Args:
            clips: {"rgb": (B, 3, T, H, W)}, uint8 or float, in 0..255.

        Raises:
            ModelError: no rgb, or clips of another shape.
        """
        if "rgb" not in clips:
            raise ModelError(f"the model reads rgb; the batch has {', '.join(clips) or 'nothing'}")
        clip_BCTHW = clips["rgb"]
        if clip_BCTHW.ndim != 5 or clip_BCTHW.shape[1] != 3:
            raise ModelError(f"frame_lstm takes clips (B, 3, T, H, W), got {tuple(clip_BCTHW.shape)}")
        B, _, T = clip_BCTHW.shape[:3]
        frames_BTCHW = clip_BCTHW.transpose(1, 2).flatten(0, 1)
        features_BTD = self.backbone(self.normalise(frames_BTCHW)).unflatten(0, (B, T))
        pooled_BD = self.temporal(features_BTD)[0].mean(dim=1)
        return TwoHeadOutput(*self.classify({"rgb": pooled_BD}), {"rgb": pooled_BD})
