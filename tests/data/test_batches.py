"""The draws of a step depend on seed and step alone, cover each list evenly, and share a batch in balance."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicsub.data import samplers
from epicsub.data.samplers import StepSampler, balanced_weights, systematic_draws


def sampler(**changes):
    given_ = {"source_size": 20, "target_sizes": [7, 30], "source_batch": 6, "target_batch": 6, "seed": 3}
    return StepSampler(**({"first_step": 0, "last_step": 40} | given_ | changes))


def test_resumed_in_the_middle_draws_the_same():
    whole = list(sampler())
    assert len(whole) == len(sampler()) == 40
    for first in (1, 17, 39):
        resumed = sampler(first_step=first)
        assert len(resumed) == 40 - first
        assert list(resumed) == whole[first:]
    assert list(sampler(first_step=40)) == []


def test_seed_changes_order_and_seeds():
    ours, theirs = list(sampler()), list(sampler(seed=4))
    assert [d[:3] for d in ours[0]] != [d[:3] for d in theirs[0]]
    assert not {d.seed for step in ours for d in step} & {d.seed for step in theirs for d in step}


def test_seeds_of_draws_differ():
    seeds = [draw.seed for step in sampler() for draw in step]
    assert len(set(seeds)) == len(seeds) == 40 * 12
    assert all(seed >= 0 for seed in seeds)


def test_source_comes_first_and_is_the_same_without_target():
    """The control without adaptation sees the same source clips in the same order."""
    with_target, without = list(sampler()), list(sampler(target_sizes=[], target_batch=0))
    for step, control in zip(with_target, without, strict=True):
        assert [draw.domain for draw in step] == [0] * 6 + [1] * 6
        assert [draw[:3] for draw in step[:6]] == [draw[:3] for draw in control]
        assert step[0].seed == control[0].seed


def test_every_epoch_is_a_permutation():
    indices = [
        draw.segment_index for step in sampler(source_batch=6, source_size=20) for draw in step if not draw.domain
    ]
    epochs = [indices[begin : begin + 20] for begin in range(0, 240, 20)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 20), st.integers(0, 1000))
def test_target_lists_share_equally_whatever_their_lengths(sizes, batch, seed):
    lists = len(sizes)
    steps = list(sampler(target_sizes=sizes, target_batch=batch, seed=seed, last_step=2 * lists))
    total = Counter()
    drawn = {number: [] for number in range(lists)}
    for step in steps:
        targets = [draw for draw in step if draw.domain == 1]
        counts = Counter(draw.list_index for draw in targets)
        assert len(targets) == batch
        assert max(counts.values()) - min(counts.get(number, 0) for number in range(lists)) <= 1
        total += counts
        for draw in targets:
            drawn[draw.list_index].append(draw.segment_index)
    assert all(total[number] == 2 * batch for number in range(lists))  # in turn: equal after as many steps as lists
    for number, size in enumerate(sizes):
        whole = drawn[number][: len(drawn[number]) // size * size]
        assert all(sorted(whole[i : i + size]) == list(range(size)) for i in range(0, len(whole), size))


def test_odd_one_alternates():
    counts = [Counter(draw.list_index for draw in step if draw.domain) for step in sampler(target_batch=5)]
    assert [step[0] for step in counts[:4]] in ([3, 2, 3, 2], [2, 3, 2, 3])


def test_batch_larger_than_a_list():
    first = sampler(source_size=4, source_batch=10).draws(0)
    assert Counter(draw.segment_index for draw in first if not draw.domain).most_common(4)[-1][1] >= 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"source_size": 0},
        {"target_sizes": [3, 0]},
        {"target_sizes": []},
        {"target_batch": 0},
        {"source_batch": -1},
        {"seed": -1},
        {"first_step": 41},
    ],
)
def test_impossible_settings(wrong):
    with pytest.raises(ValueError, match=r"source|target"):
        sampler(**wrong)


def weighted(weights: list[float], **more: int) -> StepSampler:
    settings = {"source_batch": 5, "target_batch": 0, "seed": 3, "first_step": 0, "last_step": 400} | more
    return StepSampler(source_size=len(weights), target_sizes=[], source_weights=weights, **settings)


def test_class_balanced_draws_each_class_equally_often_in_every_epoch() -> None:
    classes = ["a"] * 80 + ["b"] * 15 + ["c"] * 5
    sampler = weighted(balanced_weights(classes, "class"), source_batch=10)
    drawn = [draw.segment_index for step in range(10) for draw in sampler.draws(step)]  # one epoch of 100
    counts = Counter(classes[index] for index in drawn)
    assert all(abs(counts[name] - 100 / 3) < 1.01 for name in "abc"), counts
    once = Counter(drawn)
    assert {once[index] for index in range(95, 100)} <= {6, 7}  # 33.3 draws over 5 segments
    assert {once[index] for index in range(80)} == {0, 1}


def test_square_root_draws_by_the_root_of_the_class_size() -> None:
    classes = ["a"] * 81 + ["b"] * 16 + ["c"] * 4
    sampler = weighted(balanced_weights(classes, "square_root"), source_batch=101)
    counts = Counter(classes[draw.segment_index] for draw in sampler.draws(0))
    for name, root in {"a": 9, "b": 4, "c": 2}.items():
        assert abs(counts[name] - 101 * root / 15) < 1.01


def test_weighted_epochs_differ_reach_every_segment_and_depend_on_seed_and_step_alone() -> None:
    weights = balanced_weights([0] * 9 + [1], "class")
    sampler = weighted(weights)
    epochs = [[d.segment_index for step in (e, e + 1) for d in sampler.draws(step)] for e in range(0, 400, 2)]
    assert len({tuple(epoch) for epoch in epochs}) > 150
    assert {index for epoch in epochs for index in epoch} == set(range(10))
    later = weighted(weights, first_step=7)
    assert next(iter(later)) == sampler.draws(7)


def test_repeats_take_the_same_segments_with_other_seeds() -> None:
    settings = {"target_sizes": [], "target_batch": 0, "seed": 1, "first_step": 0, "last_step": 10}
    plain = StepSampler(source_size=12, source_batch=4, **settings)
    twice = StepSampler(source_size=12, source_batch=8, repeats=2, **settings)
    for step in range(6):
        draws = twice.draws(step)
        segments = [draw.segment_index for draw in draws]
        assert segments[:4] == segments[4:] == [draw.segment_index for draw in plain.draws(step)]
        assert len({draw.seed for draw in draws}) == 8
        shared = [draw.times_seed for draw in draws]
        assert shared[:4] == shared[4:]
        assert len({*shared, *(draw.seed for draw in draws)}) == 12
        assert all(draw.times_seed is None for draw in plain.draws(step))
    with pytest.raises(ValueError, match="multiple"):
        StepSampler(source_size=12, source_batch=9, repeats=2, **settings)


def test_a_draw_does_not_touch_the_weights_of_every_segment() -> None:
    """67,217 weights: hashing or comparing them for each draw took 59 ms of a step."""

    class Watched(float):
        touched = 0

        def __hash__(self) -> int:
            Watched.touched += 1
            return super().__hash__()

    weights = [Watched(weight) for weight in balanced_weights([0] * 9 + [1], "class")]
    assert [weighted(weights).draws(step) for step in range(9)] == [
        weighted([float(weight) for weight in weights]).draws(step) for step in range(9)
    ]
    assert Watched.touched == 0


def test_an_epoch_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(samplers, "systematic_draws", lambda *given: drawn.append(1) or systematic_draws(*given))
    whole = weighted([1.0] * 40, source_batch=6)
    steps = [whole.draws(step) for step in range(40)]  # 240 draws are six epochs
    assert len(drawn) == 6
    assert steps == [weighted([1.0] * 40, source_batch=6).draws(step) for step in range(40)]


def test_weights_that_fit_no_list_are_refused() -> None:
    for weights in ([1.0], [1.0, -1.0]):
        with pytest.raises(ValueError, match="weights"):
            StepSampler(2, [], 1, 0, 0, 0, 1, source_weights=weights)


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_draw_disjoint_shares_of_what_one_draws(ranks: int) -> None:
    """Every clip once: no segment of an epoch in two processes, none left out, the same augmentation."""
    whole = list(sampler())
    shares = [list(sampler(rank=rank, ranks=ranks)) for rank in range(ranks)]
    for step, draws in enumerate(whole):
        parts = [set(share[step]) for share in shares]
        assert sum(map(len, parts)) == len(draws) == 12
        assert set.union(*parts) == set(draws)
        for part in parts:
            assert [sum(draw.domain == domain for draw in part) for domain in (0, 1)] == [6 // ranks] * 2
