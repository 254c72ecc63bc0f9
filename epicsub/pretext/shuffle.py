"""Shuffling of clips in time and space, on the device, with the jitter that hides shortcuts.

A network that can tell the order by a seam, a colour, a shade or a pixel's place learns nothing about motion or things.
So chunks are cut apart in time and shifted in space, one channel stands for all [C], and tiles are cut smaller than
their cells, moved, given the same mean and spread [C], with channels a pixel apart [C].

Shapes: B clips, C channels, R frames read, T frames kept, H = W pixels of the square, n pieces, G tiles along a side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from epicsub.pretext.permutations import CHUNKS

GREY, SPREAD = 127.5, 50.0
"""Mean and standard deviation of a tile, in a pixel's units, 0 to 255."""
FLAT = 1.0  # least standard deviation that is stretched, in a pixel's units: what is flat has no texture to stretch
LEVELS = 2.0  # largest shift of a tile's channel, in a pixel's units [C]


@dataclass(frozen=True, kw_only=True)
class ShuffleSettings:
    """How clips are cut before they are shuffled."""

    frames: int
    """T, a multiple of CHUNKS."""
    gap: tuple[int, int] = (1, 2)
    """Fewest and most frames left out between two chunks."""
    shift: float = 0.06
    """Largest shift of a chunk, as a share of the side."""
    one_channel: bool = True
    """A random channel stands for all three of a chunk of colours [C]."""
    grid: int = 2
    """G."""
    tile: float = 0.75
    """Side of a tile as a share of its cell's [C]."""
    aberration: int = 1
    """Largest shift of a tile's channels against each other, pixels [C]."""
    same_spread: bool = True
    """Give every tile the same mean and standard deviation [C]."""

    @property
    def frames_read(self) -> int:
        """R, of a clip before gaps are left out."""
        return self.frames + (CHUNKS - 1) * self.gap[1]


@dataclass(frozen=True)
class TemporalDraw:
    """What is drawn for the chunks of B clips."""

    gap_Bn: Tensor  # noqa: N815
    """Frames left out before each chunk but the first, (B, CHUNKS - 1)."""
    shift_Bn2: Tensor  # noqa: N815
    """Of each chunk down and right, 0 to 1 of the free space."""
    channel_Bn: Tensor  # noqa: N815
    """The channel that stands for all."""


@dataclass(frozen=True)
class SpatialDraw:
    """What is drawn for the tiles of B clips."""

    place_Bn2: Tensor  # noqa: N815
    """Of each tile in its cell, down and right, 0 to 1 of the free space."""
    aberration_BnC2: Tensor  # noqa: N815
    """Shift of each channel, pixels, from -aberration to aberration."""
    level_BnC: Tensor  # noqa: N815
    """Shift of each channel's brightness, in a pixel's units."""


def draw_temporal(count: int, settings: ShuffleSettings, generator: torch.Generator) -> TemporalDraw:
    """Draw gaps, shifts and channels.

    Args:
        count: B.
        settings: of the shuffling.
        generator: a CPU generator.

    Returns:
        The draw.
    """
    low, high = settings.gap
    return TemporalDraw(
        torch.randint(low, high + 1, (count, CHUNKS - 1), generator=generator),
        torch.rand(count, CHUNKS, 2, generator=generator),
        torch.randint(3, (count, CHUNKS), generator=generator),
    )


def draw_spatial(count: int, settings: ShuffleSettings, generator: torch.Generator) -> SpatialDraw:
    """Draw places and shifts of tiles.

    Args:
        count: B.
        settings: of the shuffling.
        generator: a CPU generator.

    Returns:
        The draw, for three channels; fewer take the first ones.
    """
    tiles, most = settings.grid**2, settings.aberration
    return SpatialDraw(
        torch.rand(count, tiles, 2, generator=generator),
        torch.randint(-most, most + 1, (count, tiles, 3, 2), generator=generator),
        (2 * torch.rand(count, tiles, 3, generator=generator) - 1) * LEVELS,
    )


def cut_chunks(clip_BCRHW: Tensor, settings: ShuffleSettings, draw: TemporalDraw, is_color: bool) -> Tensor:
    """Cut clips into chunks in their own order, apart in time, each shifted.

    Args:
        clip_BCRHW: clips as they are read, R at least `frames_read`; values 0 to 255.
        settings: of the shuffling.
        draw: of `draw_temporal`.
        is_color: whether one channel may stand for all.

    Returns:
        (B, n, C, T / n, H, W) float.
    """
    length = settings.frames // CHUNKS
    first_Bn = torch.cat([torch.zeros(len(draw.gap_Bn), 1, dtype=torch.long), draw.gap_Bn.cumsum(dim=1)], dim=1)
    first_Bn = first_Bn + length * torch.arange(CHUNKS)
    side = clip_BCRHW.shape[-1]
    cut = side - 2 * round(settings.shift * side)
    corners = (draw.shift_Bn2 * (side - cut)).round().long().tolist()
    clips = []
    for clip_CRHW, firsts, places, channels in zip(
        clip_BCRHW, first_Bn.tolist(), corners, draw.channel_Bn.tolist(), strict=True
    ):
        chunks = []
        for first, (top, left), channel in zip(firsts, places, channels, strict=True):
            chunk_CtHW = clip_CRHW[:, first : first + length, top : top + cut, left : left + cut].float()
            if is_color and settings.one_channel:
                chunk_CtHW = chunk_CtHW[channel].expand_as(chunk_CtHW)
            chunks.append(_resized(chunk_CtHW, side))
        clips.append(torch.stack(chunks))
    return torch.stack(clips)


def cut_tiles(clip_BCTHW: Tensor, settings: ShuffleSettings, draw: SpatialDraw) -> Tensor:
    """Cut clips into tiles, row by row, each smaller than its cell and resized to it.

    Args:
        clip_BCTHW: values 0 to 255.
        settings: of the shuffling.
        draw: of `draw_spatial`.

    Returns:
        (B, n, C, T, H / G, W / G) float; where G does not divide the side, the last pixels are left out.
    """
    channels, grid = clip_BCTHW.shape[1], settings.grid
    cell = clip_BCTHW.shape[-1] // grid
    side = min(cell, max(1, round(settings.tile * cell)))
    corner_BnC2 = (draw.place_Bn2 * (cell - side)).round().long()[:, :, None] + draw.aberration_BnC2[:, :, :channels]
    corners = corner_BnC2.clamp(0, cell - side).tolist()
    clips = []
    for clip_CTHW, of_clip in zip(clip_BCTHW, corners, strict=True):
        tiles = []
        for number, of_tile in enumerate(of_clip):
            top, left = number // grid * cell, number % grid * cell
            tiles.append(
                torch.stack(
                    [
                        picture_THW[:, top + down : top + down + side, left + right : left + right + side]
                        for picture_THW, (down, right) in zip(clip_CTHW, of_tile, strict=True)
                    ]
                )
            )
        clips.append(torch.stack(tiles))
    tile_BnCTHW = torch.stack(clips).float()
    if settings.same_spread:
        mean, spread = tile_BnCTHW.mean(dim=(3, 4, 5), keepdim=True), tile_BnCTHW.std(dim=(3, 4, 5), keepdim=True)
        tile_BnCTHW = GREY + SPREAD * (tile_BnCTHW - mean) / spread.clamp_min(FLAT)
        level = draw.level_BnC[:, :, :channels, None, None, None].to(tile_BnCTHW.device)
        tile_BnCTHW = tile_BnCTHW + level
    return _resized(tile_BnCTHW, cell)


def reorder(piece_Bn: Tensor, order_Bn: Tensor) -> Tensor:
    """Put pieces into an order.

    Args:
        piece_Bn: (B, n, ...).
        order_Bn: which piece stands at each place.

    Returns:
        (B, n, ...).
    """
    rows = torch.arange(len(piece_Bn), device=piece_Bn.device)[:, None]
    return piece_Bn[rows, order_Bn.to(piece_Bn.device)]


def join_chunks(chunk_BnCTHW: Tensor) -> Tensor:
    """Join chunks one after the other.

    Args:
        chunk_BnCTHW: chunks in the order of the clip.

    Returns:
        (B, C, n * T, H, W).
    """
    return chunk_BnCTHW.movedim(1, 2).flatten(2, 3)


def join_tiles(tile_BnCTHW: Tensor, side: int) -> Tensor:
    """Join tiles, row by row.

    Args:
        tile_BnCTHW: tiles in the order of the picture.
        side: pixels of the picture; what the tiles do not reach is grey.

    Returns:
        (B, C, T, side, side).
    """
    grid = round(tile_BnCTHW.shape[1] ** 0.5)
    count, _, channels, frames, height, width = tile_BnCTHW.shape
    rows = tile_BnCTHW.reshape(count, grid, grid, channels, frames, height, width).permute(0, 3, 4, 1, 5, 2, 6)
    whole = rows.reshape(count, channels, frames, grid * height, grid * width)
    rest = side - whole.shape[-1]
    return F.pad(whole, (0, rest, 0, rest), value=GREY) if rest else whole


def inverse_order(order: Sequence[int]) -> list[int]:
    """Give the order that undoes another.

    Args:
        order: which piece stands at each place.

    Returns:
        The place of each piece.
    """
    places = [0] * len(order)
    for place, piece in enumerate(order):
        places[piece] = place
    return places


def _resized(x_XHW: Tensor, side: int) -> Tensor:
    """Frames (..., H, W) resized to a square; themselves if they have that size."""
    height, width = x_XHW.shape[-2:]
    if (height, width) == (side, side):
        return x_XHW
    frames = x_XHW.reshape(-1, 1, height, width)
    resized = F.interpolate(frames, (side, side), mode="bilinear", align_corners=False)
    return resized.reshape(*x_XHW.shape[:-2], side, side)
