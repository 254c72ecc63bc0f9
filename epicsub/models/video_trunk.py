"""A library's video network as a trunk: its classifier taken off, its published weights named.

Shapes: B clips, C channels, T frames, H, W pixels; D features.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

KINETICS_MEAN, KINETICS_STD = (0.45,) * 3, (0.225,) * 3  # pytorchvideo, torchvision's MViT, TimeSformer
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VideoTrunk(nn.Module):
    """What a stream needs of a network that somebody else wrote.

    Args:
        network: without its classifier, so that it ends in features.
        num_features: D.
        mean: of every channel, for pixels in 0..1, as the published weights expect.
        std: of every channel, for pixels in 0..1.
        inputs: (B, C, T, H, W) to what the network takes.
        outputs: what the network returns to (B, D).
        classifier: names under which published files hold the classifier that is left out.
        first: names of the convolutions that read the channels.
    """

    def __init__(
        self,
        network: nn.Module,
        num_features: int,
        mean: Sequence[float],
        std: Sequence[float],
        inputs: Callable[[Tensor], Any] = lambda x_BCTHW: x_BCTHW,
        outputs: Callable[[Any], Tensor] = lambda features_BD: features_BD,
        classifier: tuple[str, ...] = (),
        first: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.num_features = num_features
        self.mean, self.std = tuple(mean), tuple(std)
        self.inputs, self.outputs = inputs, outputs
        self.classifier, self.first = classifier, first

    def features(self, x_BCTHW: Tensor) -> Tensor:
        """Pooled features (B, D) of normalised clips."""
        return self.outputs(self.network(self.inputs(x_BCTHW)))


def per_channel(values: Sequence[float], channels: int) -> list[float]:
    """Constants of RGB for any number of channels: as they are for three, else their mean for each."""
    return list(values) if len(values) == channels else [sum(values) / len(values)] * channels


def other_channels(convolution: nn.Conv3d, channels: int) -> nn.Conv3d:
    """The same convolution for another number of input channels, with weights of its own."""
    if convolution.in_channels == channels:
        return convolution
    return nn.Conv3d(
        channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        convolution.stride,  # type: ignore[arg-type]
        convolution.padding,  # type: ignore[arg-type]
        bias=convolution.bias is not None,
    )


def averaged_over_channels(weight: Tensor, channels: int) -> Tensor:
    """RGB weights of a first convolution for another number of channels: their mean over the three, repeated.

    Cross-modality pre-training of temporal segment networks (arXiv 1608.00859, section 4.2).
    """
    if weight.shape[1] == channels:
        return weight
    return weight.mean(dim=1, keepdim=True).repeat(1, channels, *(1,) * (weight.ndim - 2))
