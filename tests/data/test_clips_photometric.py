"""Repeated augmentation from one decoding, and photometric augmentation left to the device."""

import pytest
import torch

from epicsub.data.clips import collate, make_loader
from epicsub.data.photometric import PhotometricAugmentation, RandAugment
from epicsub.data.samplers import StepSampler
from epicsub.data.sources import ClipSource
from epicsub.data.transforms import TrainTransform

from .clip_data import SEGMENTS, make_root, steps, train_clips


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_video, rates):
    return make_root(tmp_path_factory.mktemp("root"), make_video, rates)


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


def test_photometric_augmentation_left_to_the_device_come_out_as_in_the_worker(root):
    photometric = PhotometricAugmentation(0.4, RandAugment(1, 9), 0.5)

    def batch_of(later):
        dataset = train_clips(root, photometric=photometric, photometric_on_device=later)
        return next(iter(make_loader(dataset, batch_sampler=steps(), collate=collate, workers=0)))

    done, left = batch_of(False), batch_of(True)
    for domain, part in left.by_domain().items():
        clips = photometric.apply_batch(part.clips, part.photometric_B4)
        assert all(torch.equal(clip, done.by_domain()[domain].clips[name]) for name, clip in clips.items())
