"""Photometric augmentation of cropped clips: colours, RandAugment, erasing. All on uint8.

Parameters are drawn where a clip is read, from the clip's own generator. They are applied there too or, if training
runs on a GPU, there on the whole batch: the workers then only decode, cut and resize.

Shape legend: B clips, C channels (rgb 3, flow 2), T frames, H, W pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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


class _Drawn(v2.RandAugment):  # type: ignore[misc]  # torchvision has no types
    """torchvision's RandAugment that notes what it would do."""

    def draw(self, height: int, width: int) -> list[tuple[str, float]]:
        """Operations of a clip, with their magnitudes, out of torch's default generator."""
        self._noted: list[tuple[str, float]] = []
        self(torch.empty(3, height, width, dtype=torch.uint8))
        return self._noted

    def _apply_image_or_video_transform(self, image: Any, transform_id: str, magnitude: float, **_: Any) -> Any:
        self._noted.append((transform_id, magnitude))
        return image

    def perform(self, clips: torch.Tensor, operation: tuple[str, float]) -> torch.Tensor:
        """Do it to any number of pictures (..., 3, H, W)."""
        done: torch.Tensor = super()._apply_image_or_video_transform(
            clips, *operation, interpolation=self.interpolation, fill=self._fill
        )
        return done


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
        settings = {"num_magnitude_bins": MAGNITUDES, "fill": list(RGB.fill)}
        self._operations = v2.RandAugment(*rand_augment, **settings) if rand_augment else None
        self._drawn_operations = _Drawn(*rand_augment, **settings) if rand_augment else None
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
        """Augment a batch on its device, all clips at once, as `apply` does each; the host waits for nothing.

        Args:
            clips: uint8 (B, C, T, H, W) per modality; `slots.BOXES` stay as they are.
            drawn_B4: (B, 4) parameters, see `draw`, on the host.

        Returns:
            uint8 (B, C, T, H, W) per modality, in channels_last_3d memory.
        """
        rows = drawn_B4.tolist()
        changed = {name: clip for name, clip in clips.items() if name != BOXES}
        colors = [name for name in changed if MODALITIES[name].is_color]
        sizes = {name: (clip.shape[-2], clip.shape[-1]) for name, clip in changed.items()}
        operations: dict[str, list[list[tuple[str, float]]]] = {name: [] for name in colors}
        erased = []
        with torch.random.fork_rng(devices=[]):
            for *_, seed in rows:  # in the order in which a clip alone draws
                torch.default_generator.manual_seed(int(seed))
                for name in colors if self._drawn_operations else ():
                    operations[name].append(self._drawn_operations.draw(*sizes[name]))  # type: ignore[union-attr]
                erased.append(self._draw_box(*next(iter(sizes.values()))))
        for name in colors:
            if self.color_jitter:
                changed[name] = _jitter_batch(changed[name], [row[:3] for row in rows])
            if self._drawn_operations is not None:
                changed[name] = _perform(self._drawn_operations, changed[name], operations[name])
        if any(erased):
            changed = {name: _erase_batch(clip, name, erased) for name, clip in changed.items()}
        return dict(clips) | {
            name: clip.contiguous(memory_format=torch.channels_last_3d) for name, clip in changed.items()
        }

    def _draw_box(self, height: int, width: int) -> tuple[int, int, int, int] | None:
        """Top, left, height and width, in pixels, of what is erased; None if nothing is."""
        if float(torch.rand(())) >= self.erase:
            return None
        box = self._eraser.make_params([torch.empty(3, height, width)])
        return None if box["v"] is None else (box["i"], box["j"], box["h"], box["w"])  # None: ten boxes did not fit

    def _apply(self, clips: Mapping[str, torch.Tensor], factors: list[float]) -> dict[str, torch.Tensor]:
        changed = dict(clips)
        for name in (name for name in clips if MODALITIES[name].is_color):
            if self.color_jitter:
                clip_THWC = _jitter_colors(changed[name].permute(1, 2, 3, 0), *factors)
                changed[name] = clip_THWC.permute(3, 0, 1, 2)
            if self._operations is not None:
                changed[name] = self._operations(changed[name].transpose(0, 1)).transpose(0, 1)
        if box := self._draw_box(*next(iter(changed.values())).shape[-2:]):
            changed = {name: _erase(clip, name, *box) for name, clip in changed.items()}
        return changed


def _erase(clip_CTHW: torch.Tensor, modality: str, top: int, left: int, height: int, width: int) -> torch.Tensor:
    """A copy with a box, in pixels, of the modality's fill level."""
    fill_C = torch.tensor(MODALITIES[modality].fill, dtype=clip_CTHW.dtype, device=clip_CTHW.device)
    erased: torch.Tensor = v2.functional.erase(clip_CTHW, top, left, height, width, fill_C.view(-1, 1, 1, 1))
    return erased


def _on(values: Sequence[Any], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of what the host knows; a GPU fetches it when it needs it, and nothing waits."""
    held = torch.tensor(values, dtype=dtype)
    return held.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else held.to(device)


def _perform(
    augment: _Drawn, clip_BCTHW: torch.Tensor, operations: Sequence[Sequence[tuple[str, float]]]
) -> torch.Tensor:
    """Do every clip's operations, one after the other: those of all clips that share one at once."""
    changed = clip_BCTHW.clone()
    for number in range(augment.num_ops):
        groups: dict[tuple[str, float], list[int]] = {}
        for place, ordered in enumerate(operations):
            groups.setdefault(ordered[number], []).append(place)
        for operation, places in groups.items():
            rows = _on(places, clip_BCTHW.device, torch.long)
            part_BTCHW = changed.index_select(0, rows).transpose(1, 2)
            changed.index_copy_(0, rows, augment.perform(part_BTCHW, operation).transpose(1, 2))
    return changed


def _erase_batch(
    clip_BCTHW: torch.Tensor, modality: str, boxes: Sequence[tuple[int, int, int, int] | None]
) -> torch.Tensor:
    """Clips with a box of the modality's fill level each; None for no box."""
    device, (height, width) = clip_BCTHW.device, clip_BCTHW.shape[-2:]
    top_B, left_B, height_B, width_B = _on([box or (0, 0, 0, 0) for box in boxes], device, torch.long).unbind(1)
    row_H, column_W = torch.arange(height, device=device), torch.arange(width, device=device)
    rows_BH = (row_H >= top_B[:, None]) & (row_H < (top_B + height_B)[:, None])
    columns_BW = (column_W >= left_B[:, None]) & (column_W < (left_B + width_B)[:, None])
    inside_BHW = rows_BH[:, :, None] & columns_BW[:, None]
    fill_C = _on(MODALITIES[modality].fill, device, clip_BCTHW.dtype)
    return torch.where(inside_BHW[:, None, None], fill_C.view(-1, 1, 1, 1), clip_BCTHW)


def _jitter_batch(clip_BCTHW: torch.Tensor, factors: Sequence[Sequence[float]]) -> torch.Tensor:
    """`_jitter_colors` of every clip: the same levels, with the tables' entries computed at every pixel."""
    device = clip_BCTHW.device
    factors_3B = _on(factors, device, torch.float64).T
    weight_B = _on([round(saturation * 256) for _, _, saturation in factors], device, torch.int32)
    mean_B = clip_BCTHW.sum(dim=(1, 2, 3, 4), dtype=torch.int64) / clip_BCTHW[0].numel()
    mean_B = (mean_B.double() * factors_3B[0]).float()
    brightness, contrast, mean, weight = (
        one_B.view(-1, 1, 1, 1, 1) for one_B in (factors_3B[0].float(), factors_3B[1].float(), mean_B, weight_B)
    )
    level = clip_BCTHW.float().mul_(brightness).sub_(mean).mul_(contrast).add_(mean).round_().clamp_(0, 255)
    wide = level.int()
    gray = ((77 * wide[:, :1] + 150 * wide[:, 1:2] + 29 * wide[:, 2:]) >> 8).mul_(256 - weight)  # BT.601
    return wide.mul_(weight).add_(gray).add_(128).bitwise_right_shift_(8).clamp_(0, 255).to(torch.uint8)


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
