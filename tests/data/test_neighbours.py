"""Windows of segments against a slow loop, and the batches that are made of them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from epicsub.data.annotations import Segment
from epicsub.data.domains import SOURCE, TARGET
from epicsub.data.features import FeatureTable, Shard
from epicsub.data.features.batches import FeatureBatches, FeatureViews
from epicsub.data.neighbours import joined, windows
from epicsub.data.samplers import StepSampler


def drawn(seed: int, labelled: bool = True, kitchen: str = "P01") -> list[Segment]:
    """Segments of a few videos in any order; some begin together, some overlap."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(int(rng.integers(1, 30))):
        start = float(rng.integers(0, 12)) * 2.5
        stop = start + float(rng.choice([0.5, 2.5, 7.5]))
        classes = (int(rng.integers(97)), int(rng.integers(300))) if labelled else (None, None)
        video = f"{kitchen}_{rng.integers(1, 5):02d}"
        made.append(Segment(f"{video}_{number}", kitchen, video, start, stop, 1, 2, *classes))
    return made


def test_windows_equal_a_slow_loop_and_cross_no_video() -> None:
    for seed in range(200):
        segments, width = drawn(seed), (1, 3, 9)[seed % 3]
        found = windows(segments, width)
        for n, own in enumerate(segments):
            of_video = [m for m, other in enumerate(segments) if other.video_id == own.video_id]
            of_video.sort(key=lambda m: (segments[m].start, segments[m].stop, segments[m].narration_id))
            middle = of_video.index(n)
            for place in range(width):
                at = middle + place - width // 2
                present = 0 <= at < len(of_video)
                other = of_video[at] if present else n
                assert bool(found.present_NW[n, place]) == present
                assert int(found.index_NW[n, place]) == other
                times = [(t - own.start) / 30 for t in (segments[other].start, segments[other].stop)]
                assert found.seconds_NW2[n, place].tolist() == pytest.approx(times if present else [0, 0], abs=1e-6)


def test_lists_are_joined_each_within_its_own() -> None:
    """Two lists of one video know nothing of each other."""
    one, other = drawn(0), drawn(0)
    both = joined([windows(one, 3), windows(other, 3)])
    assert (both.index_NW[: len(one)] < len(one)).all()
    assert (both.index_NW[len(one) :] >= len(one)).all()
    assert torch.equal(both.present_NW[: len(one)], both.present_NW[len(one) :])
    with pytest.raises(ValueError, match="none in the middle"):
        windows(one, 4)


def tables(segments: list[Segment], sets: int | None = None) -> tuple[dict[str, FeatureTable], Tensor]:
    """Features whose every entry is the segment's number, plus a hundredth of the set."""
    ids = [segment.narration_id for segment in segments]
    x = torch.arange(len(ids), dtype=torch.float32)[:, None].expand(-1, 4).clone()
    if sets:
        x = x[:, None] + torch.arange(sets)[:, None] / 100
    shard = Shard(path="made.safetensors", narration_ids=ids, tensors={"rgb": x})  # type: ignore[arg-type]
    return {"rgb": FeatureTable([shard], "rgb", "made")}, x  # type: ignore[arg-type]


@pytest.mark.parametrize("sets", [None, 3])
def test_batches_carry_windows_their_labels_and_sets(sets: int | None) -> None:
    source, targets = drawn(4), [drawn(5, False, "P02"), drawn(6, False, "P03")]
    flat = [segment for segments in targets for segment in segments]
    features, _ = tables([*source, *flat], sets)
    sampler = StepSampler(
        source_size=len(source), target_sizes=[len(t) for t in targets], source_batch=5, target_batch=4, seed=3,
        first_step=0, last_step=6,
    )  # fmt: skip
    number = {s.narration_id: n for n, s in enumerate([*source, *flat])}
    seen: set[float] = set()
    batches = list(FeatureBatches(source, targets, features, sampler, 5))
    for batch in batches:
        for domain, part, lists in ((SOURCE, batch.source, [source]), (TARGET, batch.target, targets)):
            assert part.clips["rgb"].shape == (len(part.narration_ids), 5, 4)
            for row, name in enumerate(part.narration_ids):
                own = next(of for of in lists if any(s.narration_id == name for s in of))
                place = [s.narration_id for s in own].index(name)
                around = windows(own, 5)
                assert torch.equal(part.clips["present"][row], around.present_NW[place])
                assert torch.equal(part.clips["seconds"][row], around.seconds_NW2[place])
                for at in range(5):
                    other = own[int(around.index_NW[place, at])]
                    value = part.clips["rgb"][row, at]
                    if not around.present_NW[place, at]:
                        assert not value.any()
                        continue
                    assert int(value[0] + 1e-4) == number[other.narration_id]
                    seen.add(round(float(value[0] % 1), 2) % 1)
                    if domain == SOURCE:
                        assert int(part.labels.window_verb_BW[row, at]) == other.verb_class
                        assert int(part.labels.window_noun_BW[row, at]) == other.noun_class
        absent = ~batch.source.clips["present"]
        assert (batch.source.labels.window_verb_BW[absent] == -1).all()
        assert absent.any()
    assert seen == ({0.0, 0.01, 0.02} if sets else {0.0})
    sampler.first_step = 4
    resumed = list(FeatureBatches(source, targets, features, sampler, 5))
    assert all(
        torch.equal(a.source.clips["rgb"], b.source.clips["rgb"]) for a, b in zip(batches[4:], resumed, strict=True)
    )


def test_prediction_takes_the_set_that_is_not_augmented_whatever_the_batch() -> None:
    segments = drawn(4)
    features, x = tables(segments, 3)
    around = windows(segments, 3)
    for size in (2, len(segments)):
        views = list(FeatureViews(segments, features, size, window=3))
        found = torch.cat([clips["rgb"] for _, clips in views])
        assert found.shape == (len(segments), 1, 3, 4)
        expected = x[around.index_NW][:, :, 0] * around.present_NW[..., None]
        assert torch.equal(found[:, 0], expected)
        assert torch.equal(torch.cat([clips["present"] for _, clips in views])[:, 0], around.present_NW)
