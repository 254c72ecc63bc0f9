"""Features of boxes: RoIAlign as a product of two small matrices per box, out = Wy F Wx^T.

RoIAlign's bilinear samples, and the mean of those of a bin, are sums over rows times sums over columns of a map. So a
box is two matrices of weights, its values and gradients are those of torchvision's `roi_align(aligned=True)`, and the
gradient, a matrix product too, is the same in every run on CUDA, where torchvision adds in no fixed order.

Shapes: B clips, C channels, T times, S boxes of a time, H, W cells of the map, P bins of a side.
"""

import torch
from torch import Tensor

from epicsub.models.maps import STRIDE


def pool_regions(
    map_BCTHW: Tensor, corners_BTS4: Tensor, picture: tuple[int, int], bins: int, samples: int = 2
) -> Tensor:
    """Pool boxes of a map.

    Args:
        map_BCTHW: of `STRIDE` pixels per cell.
        corners_BTS4: x0, y0, x1, y1 as shares of the picture; no gradient reaches them.
        picture: height and width of the clip that the map is of, in pixels.
        bins: P.
        samples: of a bin in each direction; 0 takes as many as the bin has cells, rounded up.

    Returns:
        (B, T, S, C, P, P).
    """
    height, width = (side / STRIDE for side in picture)
    size_y, size_x = map_BCTHW.shape[-2:]
    x0, y0, x1, y1 = corners_BTS4.detach().float().unbind(-1)
    rows = bin_weights(y0 * height - 0.5, y1 * height - 0.5, size_y, bins, samples).to(map_BCTHW.dtype)
    columns = bin_weights(x0 * width - 0.5, x1 * width - 0.5, size_x, bins, samples).to(map_BCTHW.dtype)
    B, C, T = map_BCTHW.shape[:3]
    # all columns of all boxes of a time in one product: the map is read once
    across = map_BCTHW.permute(0, 2, 3, 1, 4).reshape(B, T, size_y * C, size_x) @ columns.flatten(2, 3).mT
    across_BTSHM = across.view(B, T, size_y, C, -1, bins).permute(0, 1, 4, 2, 3, 5).flatten(4)
    pooled_BTSPM: Tensor = rows @ across_BTSHM
    return pooled_BTSPM.view(B, T, -1, bins, C, bins).transpose(3, 4)


def bin_weights(start_N: Tensor, stop_N: Tensor, size: int, bins: int, samples: int) -> Tensor:
    """Weights of a map's cells in the bins of intervals.

    Args:
        start_N: of intervals, in cells; the middle of the first cell is 0. Any shape.
        stop_N: likewise.
        size: cells, L.
        bins: P of equal length.
        samples: of a bin; 0 takes ceil(length / P), at least one.

    Returns:
        (..., P, L), whose rows add up to at most 1.
    """
    length_N = stop_N - start_N
    if samples:
        count_N, most = torch.full_like(length_N, samples), samples
    else:
        count_N = (length_N / bins).ceil().clamp(min=1)
        # tensors that are only counted have no content: no interval is longer than the map
        most = max(1, -(-size // bins)) if count_N.is_meta else int(count_N.max())
    number_K = torch.arange(most, device=start_N.device, dtype=start_N.dtype)
    bin_P = torch.arange(bins, device=start_N.device, dtype=start_N.dtype)
    share_NK = (number_K + 0.5) / count_N[..., None]
    step_N = length_N / bins
    place_NPK = start_N[..., None, None] + (bin_P[:, None] + share_NK[..., None, :]) * step_N[..., None, None]
    used_NPK = (place_NPK >= -1) & (place_NPK <= size) & (number_K < count_N[..., None])[..., None, :]
    place_NPK = place_NPK.clamp(0, size - 1)
    cell_L = torch.arange(size, device=start_N.device, dtype=start_N.dtype)
    near_NPKL = (1 - (place_NPK[..., None] - cell_L).abs()).clamp(min=0)  # linear between two middles of cells
    return (near_NPKL * used_NPK[..., None]).sum(-2) / count_N[..., None, None]
