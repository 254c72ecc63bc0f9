"""Photometric augmentation of cropped clips: colours, RandAugment, erasing. All on uint8.

Parameters are drawn where a clip is read, from the clip's own generator. They are applied there too or, if training
runs on a GPU, there on the whole batch: the workers then only decode, cut and resize.

Shape legend: B clips, C channels (rgb 3, flow 2), T frames, H, W pixels.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torchvision.transforms import v2

from epicsub.modality import MODALITIES, RGB
from epicsub.slots import BOXES

MAGNITUDES = 31  # steps of RandAugment's scale, torchvision's default: 0 to 30


class RandAugment(NamedTuple):
    """Settings of RandAugment (arXiv 1909.13719)."""

    operations: int
    """Per clip, one after the other."""
    magnitude: int
    """Strength, 0 to 30."""


class PhotometricAugmentation:
    """Random colours, RandAugment and erasing, the same for all frames of a clip."""

    def __init__(self, color_jitter: float = 0.0, rand_augment: RandAugment | None = None, erase: float = 0.0) -> None:
        """Settings; none of them changes anything by default.

        Args:
            color_jitter: brightness, contrast and saturation are multiplied by 1 - this to 1 + this.
            rand_augment: torchvision's, on color modalities. Some operations move the picture; flow stays.
            erase: probability that a box, the same in all modalities, is filled (arXiv 1708.04896).

        Raises:
            ValueError: a setting is out of range.
        """
        if not 0 <= color_jitter <= 1 or not 0 <= erase <= 1:
            raise ValueError(f"color_jitter {color_jitter}, erase {erase}: 0 to 1")
        if rand_augment and (rand_augment.operations < 1 or not 0 <= rand_augment.magnitude < MAGNITUDES):
            raise ValueError(f"rand_augment {rand_augment}: 1 operation or more, magnitude 0 to {MAGNITUDES - 1}")
        self.color_jitter = color_jitter
        self.rand_augment = rand_augment
        self.erase = erase
        self._operations = (
            v2.RandAugment(*rand_augment, num_magnitude_bins=MAGNITUDES, fill=list(RGB.fill)) if rand_augment else None
        )
        self._eraser = v2.RandomErasing(p=1.0)

    def __bool__(self) -> bool:
        return bool(self.color_jitter or self.rand_augment or self.erase)

    def draw(self, generator: np.random.Generator) -> torch.Tensor:
        """Draw the parameters of one clip.

        Args:
            generator: source of all randomness.

        Returns:
            (4,) float64: three factors of its colours, and the seed of the rest.
        """
        factors = 1 + self.color_jitter * generator.uniform(-1, 1, 3)
        return torch.tensor([*factors.tolist(), float(generator.integers(2**32))], dtype=torch.float64)

    def apply(self, clips: Mapping[str, torch.Tensor], drawn: torch.Tensor) -> dict[str, torch.Tensor]:
        """Augment one clip, on its device.

        Args:
            clips: uint8 (C, T, H, W) per modality.
            drawn: (4,) parameters, see `draw`.

        Returns:
            uint8 (C, T, H, W) per modality.
        """
        *factors, seed = drawn.tolist()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(seed))  # torchvision draws from it
            return self._apply(clips, factors)

    def apply_batch(self, clips: Mapping[str, torch.Tensor], drawn_B4: torch.Tensor) -> dict[str, torch.Tensor]:
        """Augment a batch clip by clip, on its device.

        Args:
            clips: uint8 (B, C, T, H, W) per modality; `slots.BOXES` stay as they are.
            drawn_B4: (B, 4) parameters, see `draw`.

        Returns:
            uint8 (B, C, T, H, W) per modality, in channels_last_3d memory.
        """
        rows = drawn_B4.cpu()
        pictures = {name: clip for name, clip in clips.items() if name != BOXES}
        singles = [
            self.apply({name: clip[place] for name, clip in pictures.items()}, row) for place, row in enumerate(rows)
        ]
        return dict(clips) | {
            name: torch.stack([single[name] for single in singles]).contiguous(memory_format=torch.channels_last_3d)
            for name in pictures
        }

    def _apply(self, clips: Mapping[str, torch.Tensor], factors: list[float]) -> dict[str, torch.Tensor]:
        changed = dict(clips)
        for name in (name for name in clips if MODALITIES[name].is_color):
            if self.color_jitter:
                clip_THWC = _jitter_colors(changed[name].permute(1, 2, 3, 0), *factors)
                changed[name] = clip_THWC.permute(3, 0, 1, 2)
            if self._operations is not None:
                changed[name] = self._operations(changed[name].transpose(0, 1)).transpose(0, 1)
        if float(torch.rand(())) < self.erase:
            box = self._eraser.make_params([next(iter(changed.values()))])
            if box["v"] is not None:  # None: ten boxes in a row did not fit
                top, left, height, width = box["i"], box["j"], box["h"], box["w"]
                changed = {name: _erase(clip, name, top, left, height, width) for name, clip in changed.items()}
        return changed


def _erase(clip_CTHW: torch.Tensor, modality: str, top: int, left: int, height: int, width: int) -> torch.Tensor:
    """A copy with a box, in pixels, of the modality's fill level."""
    fill_C = torch.tensor(MODALITIES[modality].fill, dtype=clip_CTHW.dtype, device=clip_CTHW.device)
    erased: torch.Tensor = v2.functional.erase(clip_CTHW, top, left, height, width, fill_C.view(-1, 1, 1, 1))
    return erased


def _jitter_colors(clip_THWC: torch.Tensor, brightness: float, contrast: float, saturation: float) -> torch.Tensor:
    """(T, H, W, 3) with brightness, contrast about the clip's mean level, then saturation multiplied by these factors.

    In integers: a table of 256 levels for the first two, weights of 1/256 for the third. The same on every device.
    """
    levels = torch.bincount(clip_THWC.reshape(-1), minlength=256).cpu()
    mean = float((levels * torch.arange(256)).sum() / levels.sum()) * brightness
    table = (torch.arange(256) * brightness - mean) * contrast + mean
    changed = _look_up(table.round().clamp(0, 255).to(torch.uint8), clip_THWC)
    weight = round(saturation * 256)
    if weight == 256:
        return changed
    wide = changed.int()
    red, green, blue = wide.unbind(-1)
    gray = (77 * red + 150 * green + 29 * blue) >> 8  # BT.601
    return ((wide * weight + gray.unsqueeze(-1) * (256 - weight) + 128) >> 8).clamp(0, 255).to(torch.uint8)


def _look_up(levels_u8: torch.Tensor, clip: torch.Tensor) -> torch.Tensor:
    """Entry of a table of 256 levels at every pixel."""
    if clip.device.type == "cpu":
        return torch.from_numpy(np.take(levels_u8.numpy(), clip.numpy()))  # six times as fast as indexing in torch
    return levels_u8.to(clip.device)[clip.int()]
