"""A library's video network as the trunk of a stream.

Shapes: B clips, C channels, T frames, H, W pixels; D features.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

KINETICS_MEAN, KINETICS_STD = (0.45,) * 3, (0.225,) * 3  # pytorchvideo, torchvision's MViT, TimeSformer
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VideoTrunk(nn.Module):
    """A network of a library without its classifier.

    Args:
        network: ends in pooled features.
        num_features: D.
        mean: of RGB pixels in 0..1, as the published weights expect.
        std: of RGB pixels in 0..1.
        inputs: (B, C, T, H, W) to what the network takes.
        outputs: what the network returns to (B, D).
        map_block: number of the block of `network.blocks` whose output relations read; None: there is no such map.
        map_channels: of it.
        as_map: what the block returns to (B, C', T', H / 16, W / 16).
    """

    def __init__(
        self,
        network: nn.Module,
        num_features: int,
        mean: Sequence[float],
        std: Sequence[float],
        inputs: Callable[[Tensor], Any] = lambda x_BCTHW: x_BCTHW,
        outputs: Callable[[Any], Tensor] = lambda features_BD: features_BD,
        map_block: int | None = None,
        map_channels: int | None = None,
        as_map: Callable[[Any], Tensor] = lambda map_BCTHW: map_BCTHW,
    ) -> None:
        super().__init__()
        self.network = network
        self.num_features = num_features
        self.mean, self.std = tuple(mean), tuple(std)
        self.inputs, self.outputs = inputs, outputs
        self.map_block, self.map_channels, self.as_map = map_block, map_channels, as_map

    def features(self, x_BCTHW: Tensor) -> Tensor:
        """Pooled features of normalised clips.

        Args:
            x_BCTHW: clips.

        Returns:
            (B, D).
        """
        return self.outputs(self.network(self.inputs(x_BCTHW)))

    def features_and_map(self, x_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features, and the map that relations read, of a network that is a row of blocks.

        Args:
            x_BCTHW: normalised clips.

        Returns:
            (B, D) and (B, C', T', H / 16, W / 16).
        """
        blocks: Any = self.network.blocks
        x = self.inputs(x_BCTHW)
        map_BCTHW = x_BCTHW
        for number, block in enumerate(blocks):
            x = block(x)
            if number == self.map_block:
                map_BCTHW = self.as_map(x)
        return self.outputs(x), map_BCTHW


def with_channels(convolution: nn.Conv3d, channels: int) -> nn.Conv3d:
    """The same convolution for another number of input channels.

    Args:
        convolution: of 3 channels.
        channels: C.

    Returns:
        The convolution itself for 3 channels, else a new one with random weights.
    """
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
