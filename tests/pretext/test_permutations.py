"""Sets of permutations and groups."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch

from epicsub.pretext.order import draw_labels, draw_orders, make_task, shuffled_pieces
from epicsub.pretext.permutations import (
    group_permutations,
    hamming_from_identity,
    spatial_permutations,
    temporal_permutations,
)
from epicsub.pretext.policy import class_probabilities
from epicsub.pretext.shuffle import ShuffleSettings, inverse_order, join_chunks, join_tiles, reorder

EXACT = ShuffleSettings(
    frames=8, gap=(0, 0), shift=0.0, one_channel=False, tile=1.0, aberration=0, same_spread=False
)  # no jitter


def test_sets_are_complete() -> None:
    temporal, spatial = temporal_permutations(), spatial_permutations(2, 0, seed=0)
    both = {tuple(order) for order in temporal} | {tuple(order[::-1]) for order in temporal}
    assert (len(temporal), both) == (12, set(permutations(range(4))))
    assert {tuple(order) for order in spatial} == set(permutations(range(4)))
    assert len(spatial) == 24


def mean_distance(orders: np.ndarray) -> float:
    return float(np.mean([(a != b).sum() for a, b in combinations(orders, 2)]))


def test_the_set_of_a_larger_grid_is_far_apart_distinct_and_of_its_seed() -> None:
    chosen = spatial_permutations(3, 100, seed=4)
    random = np.random.default_rng(0)
    drawn = np.stack([random.permutation(9) for _ in range(100)])
    assert len({tuple(order) for order in chosen}) == 100
    assert all(sorted(order) == list(range(9)) for order in chosen)
    assert mean_distance(chosen) > mean_distance(drawn)
    assert np.array_equal(chosen, spatial_permutations(3, 100, seed=4))
    other = spatial_permutations(3, 100, seed=5)
    assert not np.array_equal(chosen, other)
    assert not np.array_equal(chosen[1:4], other[1:4])  # ties too are of the seed


@pytest.mark.parametrize("name", ["temporal", "spatial"])
@pytest.mark.parametrize("seed", range(5))
def test_groups_are_a_partition_of_near_sizes(name: str, seed: int) -> None:
    task = make_task(name, 2, 0, 6, "kmeans", seed)  # type: ignore[arg-type]
    sizes = np.bincount(task.group_N.numpy(), minlength=6)
    assert sizes.sum() == len(task.orders_Nn)
    assert (sizes >= 0.5 * sizes.mean()).all()
    assert (sizes <= 1.5 * sizes.mean()).all()
    assert torch.equal(task.group_N, make_task(name, 2, 0, 6, "kmeans", seed).group_N)  # type: ignore[arg-type]


def test_groups_by_distance_go_from_near_to_far() -> None:
    orders = spatial_permutations(2, 0, seed=0)
    groups = group_permutations(orders, 6, "distance", 0, mirrored=False)
    distance = hamming_from_identity(orders)
    assert np.bincount(groups).tolist() == [4] * 6
    assert all(distance[groups == g].max() <= distance[groups == g + 1].min() for g in range(5))


@pytest.mark.parametrize("name", ["temporal", "spatial"])
def test_the_inverse_restores_the_clip_and_the_label_is_the_order_applied(name: str) -> None:
    task = make_task(name, 2, 0, 6, "kmeans", seed=0)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    clip_BCTHW = torch.randint(256, (24, 3, 8, 6, 6), generator=generator).float()
    label_B = torch.arange(24) % len(task.orders_Nn)
    draw = draw_orders(task, label_B, EXACT, generator)
    pieces = shuffled_pieces(task, clip_BCTHW, draw, EXACT, is_color=True)
    back = reorder(pieces, torch.tensor([inverse_order(order) for order in draw.order_Bn.tolist()]))
    restored = join_chunks(back) if name == "temporal" else join_tiles(back, 6)
    assert torch.equal(restored, clip_BCTHW)
    for label, applied in zip(label_B.tolist(), draw.order_Bn.tolist(), strict=True):
        order = task.orders_Nn[label].tolist()
        assert applied in ([order, order[::-1]] if name == "temporal" else [order])
    if name == "temporal":  # both directions come
        assert (
            0 < sum(a != task.orders_Nn[b].tolist() for a, b in zip(draw.order_Bn.tolist(), label_B, strict=True)) < 24
        )


def test_a_chunk_shows_one_channel_and_flow_keeps_its_own() -> None:
    task = make_task("temporal", 2, 0, 6, "kmeans", seed=0)
    settings, generator = ShuffleSettings(frames=8), torch.Generator().manual_seed(0)
    clip_BCRHW = 255 * torch.rand(4, 3, settings.frames_read, 12, 12, generator=generator)
    draw = draw_orders(task, torch.zeros(4, dtype=torch.long), settings, generator)
    color = shuffled_pieces(task, clip_BCRHW, draw, settings, is_color=True)
    flow = shuffled_pieces(task, clip_BCRHW[:, :2], draw, settings, is_color=False)
    assert torch.equal(color[:, :, 0], color[:, :, 2])
    assert not torch.equal(flow[:, :, 0], flow[:, :, 1])


def test_half_of_the_clips_are_of_the_chosen_group() -> None:
    task = make_task("spatial", 2, 0, 6, "kmeans", seed=0)
    weight_G = torch.zeros(6)
    weight_G[2] = 1.0
    label_B, drawn_G = draw_labels(task, 20_000, weight_G, torch.Generator().manual_seed(0))
    share_N = label_B.bincount(minlength=24) / len(label_B)
    probability_N = class_probabilities(task.group_N, weight_G)
    assert float(probability_N.sum()) == pytest.approx(1.0)
    assert float((share_N - probability_N).abs().max()) < 4 * (0.25 / 20_000) ** 0.5
    assert drawn_G.tolist() == pytest.approx([0, 0, 10_000, 0, 0, 0], abs=4 * (20_000 * 0.25) ** 0.5)
