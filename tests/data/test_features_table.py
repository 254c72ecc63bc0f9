"""Batches of features hold what the draws of the same sampler say."""

from pathlib import Path

import pytest
import torch

from epicsub.data.annotations import Segment
from epicsub.data.batch import LabelledClipBatch
from epicsub.data.domains import SOURCE
from epicsub.data.features.batches import FeatureBatches, FeatureViews
from epicsub.data.features.store import FeatureStore, open_features
from epicsub.data.samplers import StepSampler
from epicsub.errors import DataError


def segments(kitchen: str, count: int, labelled: bool) -> list[Segment]:
    return [
        Segment(
            f"{kitchen}_{n}", kitchen, kitchen, n, n + 1, 0, 1, n % 97 if labelled else None, n if labelled else None
        )
        for n in range(count)
    ]


SOURCE_SEGMENTS = segments("P01_01", 11, True)
TARGETS = [segments("P02_01", 5, False), segments("P03_01", 8, False)]


@pytest.fixture(params=[3, 100], ids=["many shards", "one shard"])
def tables(tmp_path: Path, request: pytest.FixtureRequest):
    """One number a segment: its place in the whole row, in rgb, and its negative at two times in audio."""
    store = FeatureStore(tmp_path / "f", {})
    names = [s.narration_id for part in (SOURCE_SEGMENTS, *TARGETS) for s in part]
    for begin in range(0, len(names), request.param):
        x_N = torch.arange(begin, min(begin + request.param, len(names))).float()
        audio = -torch.stack((x_N, x_N + 0.5), dim=1)[..., None].repeat(1, 1, 3)
        store.add(names[begin : begin + request.param], {"rgb": x_N[:, None].repeat(1, 2), "audio": audio})
    return open_features({"rgb": tmp_path / "f", "audio": tmp_path / "f"})


def sampler(first: int, target_batch: int = 6) -> StepSampler:
    return StepSampler(11, [5, 8] if target_batch else [], 4, target_batch, seed=3, first_step=first, last_step=9)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_batch_is_what_was_drawn(tables, in_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not in_memory:
        monkeypatch.setattr("epicsub.data.features.IN_MEMORY", 0)
    batches = FeatureBatches(SOURCE_SEGMENTS, TARGETS, tables, sampler(0))
    assert len(batches) == 9
    for batch, draws in zip(batches, sampler(0), strict=True):
        source = [d.segment_index for d in draws if d.domain == SOURCE]
        target = [11 + 5 * d.list_index + d.segment_index for d in draws if d.domain != SOURCE]
        assert batch.source.clips["rgb"][:, 1].tolist() == source
        assert batch.source.labels.noun_B.tolist() == source
        assert batch.source.narration_ids == [f"P01_01_{n}" for n in source]
        assert batch.target.clips["audio"][:, 1, 2].tolist() == [-n - 0.5 for n in target]
        assert not isinstance(batch.target, LabelledClipBatch)
        assert len(target) == 6


def test_a_batch_does_not_depend_on_where_a_run_goes_on(tables) -> None:
    whole = list(FeatureBatches(SOURCE_SEGMENTS, TARGETS, tables, sampler(0)))[5:]
    for one, other in zip(whole, FeatureBatches(SOURCE_SEGMENTS, TARGETS, tables, sampler(5)), strict=True):
        assert one.target.narration_ids == other.target.narration_ids
        assert torch.equal(one.source.clips["rgb"], other.source.clips["rgb"])


def test_without_target_draws_there_is_no_target(tables) -> None:
    batch = next(iter(FeatureBatches(SOURCE_SEGMENTS, [], tables, sampler(0, 0))))
    assert batch.target is None


def test_views_go_through_all_segments_in_order_and_again(tables) -> None:
    views = FeatureViews(TARGETS[1], tables, batch_size=3)
    for _ in range(2):
        got = list(views)
        assert len(got) == len(views) == 3
        assert [name for names, _ in got for name in names] == [s.narration_id for s in TARGETS[1]]
        assert torch.cat([x["rgb"] for _, x in got])[:, 0, 0].tolist() == list(range(16, 24))
        assert got[0][1]["audio"].shape == (3, 1, 2, 3)


def test_target_labels_and_missing_segments_are_refused(tables) -> None:
    with pytest.raises(DataError, match="target segments carry labels"):
        FeatureBatches(SOURCE_SEGMENTS, [segments("P02_01", 5, True)], tables, sampler(0))
    with pytest.raises(DataError, match="no rgb features for 1 segment: P02_01_5"):
        FeatureViews(segments("P02_01", 6, False), tables, 2)


def test_two_processes_share_the_batches_of_views(tables) -> None:
    whole = list(FeatureViews(TARGETS[1], tables, batch_size=3))
    shares = [list(FeatureViews(TARGETS[1], tables, 3, rank, 2)) for rank in (0, 1)]
    assert [ids for ids, _ in shares[0]] == [whole[0][0], whole[2][0]]
    assert [ids for ids, _ in shares[1]] == [whole[1][0]]
    assert torch.equal(shares[1][0][1]["rgb"], whole[1][1]["rgb"])
