"""Training batches and evaluation views from real files, in this process and from workers."""

import gc
import multiprocessing
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from epicsub.data.batch import LabelledClipBatch, collate
from epicsub.data.clips import ViewClips
from epicsub.data.loader import make_loader, workers_of_machine
from epicsub.data.photometric import PhotometricAugmentation, RandAugment
from epicsub.data.root import DataRoot
from epicsub.data.samplers import Draw, StepSampler
from epicsub.data.sampling import Views, _dense_times, _view_positions, parse_views
from epicsub.data.sources import ClipSource
from epicsub.data.transforms import TrainTransform, _mirror, _resize_short_side, _three_crops
from epicsub.errors import DataError

from .clip_data import SEGMENTS, make_root, same, segments, steps, train_clips


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_video, rates):
    return make_root(tmp_path_factory.mktemp("root"), make_video, rates)


def test_batch_shapes_types_and_labels(root):
    batch = next(iter(make_loader(train_clips(root), batch_sampler=steps(), collate=collate, workers=0)))
    source = batch.source
    for modality, channels in (("rgb", 3), ("flow", 2)):
        assert source.clips[modality].shape == (3, channels, 4, 48, 48)
        assert source.clips[modality].dtype == torch.uint8
        assert source.clips[modality].is_contiguous(memory_format=torch.channels_last_3d)
        assert batch.target.clips[modality].shape == (2, channels, 4, 48, 48)
    numbers = [int(identity.rsplit("_", 1)[1]) for identity in source.narration_ids]
    assert source.labels.verb_B.tolist() == [number + 10 for number in numbers]
    assert source.labels.noun_B.tolist() == [number + 20 for number in numbers]
    assert source.labels.verb_B.dtype == torch.int64


def test_the_bytes_of_an_item_are_counted_before_it_is_read(root):
    """The loader bounds by them what is read ahead."""
    clips = train_clips(root)
    read = clips[Draw(1, 0, 2, 7)].clips
    assert clips.item_bytes == sum(clip.numel() for clip in read.values())
    settings = {"frames": 4, "sampling": "dense", "stride": 0.1, "short_side": 54, "size": 48}
    views = ViewClips(
        segments("P01_01", True), ClipSource(root, ("rgb", "flow")), views=parse_views("2x3+flip"), **settings
    )
    assert views.item_bytes == sum(clip.numel() for clip in views[0][1].values())


def test_target_carries_no_labels(root):
    dataset = train_clips(root)
    item = dataset[Draw(1, 0, 2, 7)]
    assert (item.verb, item.noun, item.photometric_4) == (None, None, None)
    for batch in make_loader(dataset, batch_sampler=steps(), collate=collate, workers=0):
        assert not isinstance(batch.target, LabelledClipBatch)
    with pytest.raises(DataError, match="6 target segments carry labels"):
        train_clips(root, target=[segments("P02_101", True)])
    with pytest.raises(DataError, match="in both the source lists and target list 1"):
        train_clips(root, target=[segments("P01_01", False)])


def test_domains_are_apart_and_aligned(root):
    """Source tensors hold source clips and target tensors target clips, in memory of their own."""
    for batch in make_loader(train_clips(root), batch_sampler=steps(), collate=collate, workers=0):
        assert all(identity.startswith("P01_01_") for identity in batch.source.narration_ids)
        assert all(identity.startswith("P02_101_") for identity in batch.target.narration_ids)
        for modality in ("rgb", "flow"):
            source, target = batch.source.clips[modality], batch.target.clips[modality]
            assert source.untyped_storage().data_ptr() != target.untyped_storage().data_ptr()
            assert not any(torch.equal(one, other) for one in source for other in target)
    draws = steps().draws(0)
    dataset = train_clips(root)
    batch = collate([dataset[draw] for draw in draws])
    for name, domain in (("source", 0), ("target", 1)):
        expected = [dataset[draw].clips["rgb"] for draw in draws if draw.domain == domain]
        assert torch.equal(getattr(batch, name).clips["rgb"], torch.stack(expected))


def test_collate_sorts_domains_whatever_the_order(root):
    dataset = train_clips(root, ("rgb",))
    items = [dataset[Draw(domain, 0, index, 1)] for domain, index in ((1, 0), (0, 1), (1, 2), (0, 3))]
    batch = collate(items)
    assert batch.source.narration_ids == ["P01_01_1", "P01_01_3"]
    assert batch.source.labels.verb_B.tolist() == [11, 13]
    assert batch.target.narration_ids == ["P02_101_0", "P02_101_2"]
    assert torch.equal(batch.target.clips["rgb"][1], items[2].clips["rgb"])


def test_without_target(root):
    dataset = train_clips(root, ("rgb",), target=[])
    batch = next(iter(make_loader(dataset, batch_sampler=steps(target=()), collate=collate, workers=0)))
    assert batch.target is None


def test_a_draw_is_repeatable_and_its_seed_matters(root):
    one, again, other = (train_clips(root)[Draw(0, 0, 2, seed)].clips for seed in (1, 1, 2))
    for modality in ("rgb", "flow"):
        assert torch.equal(one[modality], again[modality])
        assert not torch.equal(one[modality], other[modality])


def test_workers_and_resuming_give_the_same_batches(root):
    def batches(first, workers):
        loader = make_loader(train_clips(root), batch_sampler=steps(first), collate=collate, workers=workers)
        return list(loader)

    alone, helped, resumed = batches(0, 0), batches(0, 2), batches(1, 0)
    assert len(alone) == len(helped) == 3
    assert all(same(ours, theirs) for ours, theirs in zip(alone, helped, strict=True))
    assert all(same(ours, theirs) for ours, theirs in zip(alone[1:], resumed, strict=True))
    assert helped[0].source.clips["rgb"].is_contiguous(memory_format=torch.channels_last_3d)


class Recorder(ClipSource):
    """Keeps the times it is asked for."""

    def read(self, segment, times):
        self.times = times
        return super().read(segment, times)


@pytest.mark.parametrize("sampling", ["dense", "uniform"])
def test_modalities_share_their_times_unless_told_otherwise(root, sampling):
    for synchronised in (True, False):
        dataset = train_clips(
            root, sampling=sampling, stride=1 / 60 if sampling == "dense" else None, synchronised=synchronised
        )
        dataset.clip_source = Recorder(root, ("rgb", "flow"), "pyav")
        for index in range(SEGMENTS):
            dataset[Draw(0, 0, index, index)]
            times = dataset.clip_source.times
            assert np.array_equal(times["rgb"], times["flow"]) == synchronised
            segment = dataset.source[index]
            for wanted in times.values():
                assert wanted.shape == (4,)
                assert (wanted >= segment.start).all()
                assert (wanted <= segment.stop).all()


def test_views_are_the_right_pixels(root):
    """Every view against its own times, crop and mirror image, worked out one by one."""
    one = replace(segments("P01_01", True)[2], stop=1.6)
    source = ClipSource(root, ("rgb", "flow"), "pyav")
    settings = {"frames": 4, "sampling": "dense", "stride": 1 / 30, "short_side": 56, "size": 48}
    identity, views = ViewClips([one], source, views=parse_views("2x3+flip"), **settings)[0]
    assert identity == "P01_01_2"
    for modality in ("rgb", "flow"):
        assert views[modality].shape == (12, 3 if modality == "rgb" else 2, 4, 48, 48)
        number = 0
        for position in _view_positions(2):
            times = _dense_times(one.start, one.stop, 4, 1 / 30, position)
            resized = _resize_short_side(source.read(one, times)[modality], 56)
            for crop in _three_crops(resized, 48):
                for view in (crop, _mirror(crop, modality)):
                    assert torch.equal(views[modality][number], view.permute(3, 0, 1, 2))
                    number += 1
    _, single = ViewClips([one], source, views=Views(), **settings)[0]
    middle = source.read(one, _dense_times(one.start, one.stop, 4, 1 / 30, 0.5))["rgb"]
    assert torch.equal(single["rgb"][0], _three_crops(_resize_short_side(middle, 56), 48)[1].permute(3, 0, 1, 2))


def test_stride_factors_are_views_at_the_multiplied_stride(root):
    labelled = segments("P01_01", True)

    def views_of(text, stride, places=None):
        clips = ViewClips(
            labelled, ClipSource(root, ("rgb",), "pyav"), frames=4, sampling="dense" if stride else "uniform",
            stride=stride, short_side=64, size=48, views=parse_views(text), places=places,
        )  # fmt: skip
        return clips[2][1]["rgb"]

    both = views_of("2x3+flip@0.5,2", 1 / 30)
    assert torch.equal(both, torch.cat([views_of("2x3+flip", 1 / 60), views_of("2x3+flip", 1 / 15)]))
    assert torch.equal(views_of("2x3+flip@0.5,2", 1 / 30, parse_views("2x3+flip@0.5,2").places()[1:2]), both[6:12])
    with pytest.raises(DataError, match=r"views 1x1@2: uniform sampling has no stride"):
        views_of("1x1@2", None)


def test_view_loader_keeps_the_order(root):
    wanted = [*segments("P02_101", False), *segments("P01_01", True)]
    settings = {"frames": 4, "sampling": "uniform", "stride": None, "short_side": 48, "size": 48}
    dataset = ViewClips(wanted, ClipSource(root, ("rgb",)), views=parse_views("1x1+flip"), **settings)
    loader = make_loader(dataset, batch_size=5, workers=2)
    assert len(loader) == 3
    for _ in range(2):  # the same workers again
        batches = list(loader)
        assert [identity for ids, _ in batches for identity in ids] == [segment.narration_id for segment in wanted]
        assert [tuple(clips["rgb"].shape) for _, clips in batches] == [(n, 2, 3, 4, 48, 48) for n in (5, 5, 2)]


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_video_is_told_as_it_is(root, tmp_path, make_video, workers):
    """No traceback of a worker around it, nothing put in its place, and every problem of the batch at once."""
    broken = make_video(tmp_path / "videos" / "P01" / "P01_01.MP4", 140)
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    dataset = train_clips(DataRoot(tmp_path), ("rgb",), target=[])
    loader = make_loader(dataset, batch_sampler=steps(target=()), collate=collate, workers=workers)
    with pytest.raises(DataError) as caught:
        next(iter(loader))
    lines = str(caught.value).splitlines()
    wanted = {f"P01_01_{draw.segment_index}" for draw in steps(target=()).draws(0)}
    assert {line.split(":")[0] for line in lines} == wanted
    assert all(line.endswith("cut off or damaged, fetch it again") and f"{broken}: " in line for line in lines)


@pytest.mark.parametrize("workers", [0, 2])
def test_our_own_mistakes_are_not_dressed_up(root, workers):
    loader = make_loader(train_clips(root, ("rgb",), frames=0), batch_sampler=steps(), collate=collate, workers=workers)
    with pytest.raises(ValueError, match="a clip of 0 frames"):
        next(iter(loader))


def test_workers_of_this_machine(monkeypatch):
    for cores, workers in ((1, 1), (2, 2), (6, 6), (64, 16)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
        assert workers_of_machine() == workers
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert workers_of_machine() == 4


def test_one_thread_a_worker(root):
    class Threads(ViewClips):
        def __getitem__(self, index):
            return str(torch.get_num_threads()), {"rgb": torch.zeros(1, 3, 4, 8, 8, dtype=torch.uint8)}

    settings = {"frames": 4, "sampling": "uniform", "stride": None, "short_side": 48, "size": 48}
    dataset = Threads(segments("P01_01", True), ClipSource(root, ("rgb",)), views=Views(), **settings)
    assert [ids for ids, _ in make_loader(dataset, batch_size=3, workers=2)] == [["1"] * 3] * 2


def test_either_a_sampler_or_a_size(root):
    for arguments in ({}, {"batch_size": 2, "batch_sampler": steps()}):
        with pytest.raises(ValueError, match="either batch_sampler or batch_size"):
            make_loader(train_clips(root), workers=0, **arguments)


def test_workers_go_at_once_though_an_exception_holds_the_loader(root):
    """Left to torch, each worker would be waited for until five seconds are over."""
    loader = make_loader(train_clips(root, ("rgb",), frames=0), batch_sampler=steps(), collate=collate, workers=2)
    with pytest.raises(ValueError, match="0 frames") as caught:
        next(iter(loader))
    workers = multiprocessing.active_children()
    assert len(workers) >= 2
    goodbye = loader._finalizer
    assert goodbye.alive
    cycle = [loader, caught]
    cycle.append(cycle)
    del loader, caught, cycle
    gc.collect()
    assert not goodbye.alive
    assert not any(worker.is_alive() for worker in workers)
    assert all(worker.exitcode == 0 for worker in workers)  # torch kills those that did not hear: -15


class Counter(ClipSource):
    """Counts what it reads."""

    reads = 0

    def read(self, segment, times):
        self.reads += 1
        return super().read(segment, times)


@pytest.mark.parametrize("rank", [0, 1])
def test_repeats_are_decoded_once_and_augmented_apart(root, rank):
    settings = {"source_batch": 6, "target_batch": 0, "seed": 3, "first_step": 0, "last_step": 2, "repeats": 3}
    sampler = StepSampler(SEGMENTS, [], rank=rank, ranks=2 if rank else 1, **settings)
    photometric = PhotometricAugmentation(color_jitter=0.5)
    dataset = train_clips(
        root, target=[], photometric=photometric, transform=TrainTransform(64, 48, "scale_jitter", scales=[1.0])
    )
    dataset.clip_source = Counter(root, ("rgb", "flow"), "pyav")
    batches = list(make_loader(dataset, batch_sampler=sampler, collate=collate, workers=0))
    assert dataset.clip_source.reads == (2 if rank else 4)
    for batch in batches:
        ids, clips = batch.source.narration_ids, batch.source.clips
        same_segment = [place for place, identity in enumerate(ids) if identity == ids[0]]
        assert len(same_segment) == 3
        assert not torch.equal(clips["rgb"][same_segment[0]], clips["rgb"][same_segment[1]])
    alone = train_clips(root, target=[], photometric=photometric, transform=dataset.transform)
    for draw, clip in zip(next(iter(sampler)), batches[0].source.clips["rgb"], strict=True):
        assert torch.equal(alone[draw].clips["rgb"], clip)  # whatever was read before it


def test_photometric_augmentation_left_to_the_device_comes_out_as_in_the_worker(root):
    photometric = PhotometricAugmentation(0.4, RandAugment(1, 9), 0.5)

    def batch_of(later):
        dataset = train_clips(root, photometric=photometric, photometric_on_device=later)
        return next(iter(make_loader(dataset, batch_sampler=steps(), collate=collate, workers=0)))

    done, left = batch_of(False), batch_of(True)
    for domain, part in left.by_domain().items():
        clips = photometric.apply_batch(part.clips, part.photometric_B4)
        assert all(torch.equal(clip, done.by_domain()[domain].clips[name]) for name, clip in clips.items())
