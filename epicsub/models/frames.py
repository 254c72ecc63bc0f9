"""A timm image model on every frame of a clip, and a module over time: the trunk of the frame_* models.

Shapes: B clips, C channels, T frames, H, W pixels; D features.
"""

from collections.abc import Callable, Mapping
from typing import Any

import timm
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.models.normalise import Normalise, from_unit_range
from epicsub.models.video_trunk import per_channel


def build_backbone(name: str, channels: int = 3, drop_path: float = 0.0) -> nn.Module:
    """A timm image model without its classifier, with random weights.

    Args:
        name: of timm, e.g. resnet50.tv2_in1k.
        channels: of a frame.
        drop_path: probability of leaving out the last block, less for the earlier ones.

    Raises:
        ModelError: timm has no model of this name (the nearest names are listed), or it has no drop path.
    """
    settings: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels, **settings)
    except TypeError as error:
        raise ModelError(f"backbone {name!r}: has no stochastic depth: drop_path must be 0 ({error})") from error
    except RuntimeError as error:
        near = timm.list_models(f"*{name.partition('.')[0][:6]}*")[:5]
        raise ModelError(
            f"backbone {name!r}: {error}; near it are {', '.join(near) or 'none'}; `timm.list_models()` lists all"
        ) from error


class FrameTrunk(nn.Module):
    """Frames one by one through an image model, then over time.

    Args:
        backbone: of `build_backbone`.
        temporal: length of a frame's features -> module (B, T, D) -> (B, num_features), which it also names.
    """

    def __init__(self, backbone: nn.Module, temporal: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.temporal: Any = temporal(int(backbone.num_features))  # type: ignore[arg-type]
        self.num_features: Any = self.temporal.num_features

    def features(self, x_BCTHW: Tensor) -> Tensor:
        """Pooled features (B, num_features) of normalised clips."""
        B, _, T = x_BCTHW.shape[:3]
        frames_BTCHW = x_BCTHW.transpose(1, 2).flatten(0, 1)
        return self.temporal(self.backbone(frames_BTCHW).unflatten(0, (B, T)))


def normalisation_of(backbone: nn.Module, channels: int) -> Normalise:
    """What the published weights of a timm model expect; the mean of its RGB constants for other channels."""
    published: Mapping[str, Any] = backbone.pretrained_cfg  # type: ignore[assignment]
    return from_unit_range(per_channel(published["mean"], channels), per_channel(published["std"], channels))
