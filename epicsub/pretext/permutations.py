"""Sets of permutations and groups of related ones. The same seed gives the same bytes.

Shapes: N permutations of n places, G groups. A permutation lists, place by place, which piece stands there.
"""

from itertools import permutations

import numpy as np

CHUNKS = 4
"""Of a clip in time: 4! / 2 = 12 orders, an order and its reverse being one class, as in OPN [C]."""
RESTARTS = 200  # of k-means, until the sizes of groups are near each other
ROUNDS = 100
SMALLEST, LARGEST = 0.5, 1.5
"""Sizes of groups, as shares of N / G."""


def temporal_permutations() -> np.ndarray:
    """List the orders of a clip's chunks.

    Returns:
        (12, 4) int64: those whose first piece is smaller than the last, in lexicographic order.
    """
    return np.array([order for order in permutations(range(CHUNKS)) if order[0] < order[-1]])


def spatial_permutations(grid: int, count: int, seed: int) -> np.ndarray:
    """List the orders of a picture's tiles.

    Args:
        grid: tiles along a side. 2 gives all 24 orders.
        count: of a larger grid's set: each is the one of largest mean Hamming distance to those chosen before [C], the
            first at random, and of equal ones any: the first of them would be lexicographic.
        seed: of the draws.

    Returns:
        (N, grid * grid) int64, all different.
    """
    every = np.array(list(permutations(range(grid * grid))))
    if grid == 2:
        return every
    random = np.random.default_rng([seed, grid])
    small = every.astype(np.int8)
    chosen = [int(random.integers(len(every)))]
    distances_N = np.zeros(len(every), dtype=np.int64)
    while len(chosen) < count:
        distances_N += (small != small[chosen[-1]]).sum(axis=1)
        distances_N[chosen] = -1
        best = np.flatnonzero(distances_N == distances_N.max())
        chosen.append(int(best[random.integers(len(best))]))
    return every[chosen]


def hamming_from_identity(orders_Nn: np.ndarray) -> np.ndarray:
    """Count the pieces that are not in their place.

    Args:
        orders_Nn: permutations.

    Returns:
        (N,) from 0.
    """
    return np.asarray((orders_Nn != np.arange(orders_Nn.shape[1])).sum(axis=1))


def group_permutations(orders_Nn: np.ndarray, groups: int, grouping: str, seed: int, mirrored: bool) -> np.ndarray:
    """Divide a set into groups of related permutations [P]; how the paper does is not known.

    Args:
        orders_Nn: the set.
        groups: G.
        grouping: "kmeans" of flattened permutation matrices; "distance": by Hamming distance from the identity, from
            near to far, as equal in size as can be.
        seed: of k-means.
        mirrored: an order and its reverse are one class: its matrix is the mean of both, its distance the smaller.

    Returns:
        (N,) group of each permutation, 0 to G - 1; every group has members.

    Raises:
        ValueError: there are fewer permutations than groups.
    """
    if grouping == "distance":
        distance_N = hamming_from_identity(orders_Nn)
        if mirrored:
            distance_N = np.minimum(distance_N, hamming_from_identity(orders_Nn[:, ::-1]))
        ranks = np.argsort(np.argsort(distance_N, kind="stable"), kind="stable")
        return np.asarray(ranks * groups // len(orders_Nn))
    points_ND = _matrices(orders_Nn)
    if mirrored:
        points_ND = (points_ND + _matrices(orders_Nn[:, ::-1])) / 2
    least, most = SMALLEST * len(orders_Nn) / groups, LARGEST * len(orders_Nn) / groups
    nearest: tuple[float, np.ndarray] | None = None
    for restart in range(RESTARTS):
        labels_N = _k_means(points_ND, groups, np.random.default_rng([seed, groups, restart]))
        sizes_G = np.bincount(labels_N, minlength=groups)
        if least <= sizes_G.min() and sizes_G.max() <= most:
            return labels_N
        excess = max(least - sizes_G.min(), sizes_G.max() - most)
        if sizes_G.min() and (nearest is None or excess < nearest[0]):
            nearest = (float(excess), labels_N)
    if nearest is None:
        raise ValueError(f"{len(orders_Nn)} permutations do not make {groups} groups")
    return nearest[1]


def _matrices(orders_Nn: np.ndarray) -> np.ndarray:
    """(N, n * n): 1 where a piece stands at a place."""
    n = orders_Nn.shape[1]
    return np.asarray(np.eye(n)[orders_Nn].reshape(len(orders_Nn), n * n))


def _k_means(points_ND: np.ndarray, groups: int, random: np.random.Generator) -> np.ndarray:
    """Lloyd's algorithm from random points, (N,) labels; of equally near centres the draw decides which is first."""
    centres_GD = points_ND[random.permutation(len(points_ND))[:groups]]
    labels_N = np.full(len(points_ND), -1)
    for _ in range(ROUNDS):
        distance_NG = ((points_ND[:, None] - centres_GD) ** 2).sum(axis=2)
        before, labels_N = labels_N, distance_NG.round(9).argmin(axis=1)
        if np.array_equal(before, labels_N):
            break
        centres_GD = np.stack(
            [points_ND[labels_N == g].mean(axis=0) if (labels_N == g).any() else centres_GD[g] for g in range(groups)]
        )
    return labels_N
