"""MixUp and CutMix share the draw among modalities; what workers leave to the device is done there before a step."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from scipy import stats

from epicsub.data.batch import Batch, ClipBatch, LabelledClipBatch, Labels
from epicsub.recipe import load_recipe
from epicsub.training.augmentation import (
    Mix,
    augments_on_device,
    draw_mix,
    mix_batch,
    photometric_of,
    pixels_of,
    to_device,
)

from .small import labelled


def batch(size: int = 5) -> LabelledClipBatch:
    generator = torch.Generator().manual_seed(0)
    clips = {
        name: torch.randint(256, (size, channels, 4, 12, 10), generator=generator, dtype=torch.uint8)
        for name, channels in (("rgb", 3), ("flow", 2))
    }
    return labelled(clips, torch.arange(size), torch.arange(size) + 50)


def test_mixup_is_the_weighted_sum_of_a_clip_and_the_one_before() -> None:
    source = batch()
    mixed = mix_batch(source, Mix(0.3, None))
    for name, clip in mixed.clips.items():
        for row in range(5):
            before = source.clips[name][row - 1]
            torch.testing.assert_close(clip[row], 0.3 * source.clips[name][row].float() + 0.7 * before.float())
    torch.testing.assert_close(mixed.share_B, torch.full((5,), 0.3))
    assert mixed.partner.verb_B.tolist() == [4, 0, 1, 2, 3]
    assert mixed.partner.noun_B.tolist() == [54, 50, 51, 52, 53]
    assert mixed.narration_ids == source.narration_ids


def test_a_share_of_one_changes_no_clip_and_the_given_batch_is_left_alone() -> None:
    source = batch()
    before = {name: clip.clone() for name, clip in source.clips.items()}
    for mix in (Mix(1.0, None), Mix(1.0, (0.4, 0.4, 0.7, 0.7))):
        mixed = mix_batch(source, mix)
        for name, clip in mixed.clips.items():
            assert torch.equal(clip.float(), before[name].float())
        assert mixed.share_B.tolist() == [1.0] * 5
    mix_batch(source, Mix(0.2, (0.1, 0.9, 0.1, 0.9)))
    for name, clip in source.clips.items():
        assert torch.equal(clip, before[name])


def test_cutmix_replaces_one_box_in_every_frame_and_modality_and_counts_its_pixels() -> None:
    source = batch()
    mixed = mix_batch(source, Mix(0.5, (0.0, 0.55, 0.3, 0.82)))  # rows 0 to 5, columns 3 to 7
    for name, clip in mixed.clips.items():
        assert clip.dtype == torch.uint8
        own, before = source.clips[name], source.clips[name].roll(1, 0)
        inside = torch.zeros(12, 10, dtype=torch.bool)
        inside[:6, 3:8] = True
        assert torch.equal(clip, torch.where(inside, before, own))
    torch.testing.assert_close(mixed.share_B, torch.full((5,), 1 - 30 / 120))


def test_shares_follow_their_beta_and_boxes_their_share() -> None:
    generator = torch.Generator().manual_seed(1)
    shares = [draw_mix(0.4, 0.0, 1.0, generator) for _ in range(400)]
    assert stats.kstest([mix.share for mix in shares if mix], stats.beta(0.4, 0.4).cdf).pvalue > 0.01
    boxes = [draw_mix(0.0, 1.0, 1.0, generator) for _ in range(400)]
    for mix in boxes:
        assert mix is not None
        assert mix.box is not None
        top, bottom, left, right = mix.box
        assert 0 <= top <= bottom <= 1
        assert (bottom - top) * (right - left) <= 1 - mix.share + 1e-9  # a border cuts off, never adds
    full = [m for m in boxes if m and m.box and m.box[0] > 0 and m.box[1] < 1 and m.box[2] > 0 and m.box[3] < 1]
    assert len(full) > 30
    for mix in full:
        top, bottom, left, right = mix.box  # type: ignore[misc]
        assert (bottom - top) * (right - left) == pytest.approx(1 - mix.share)


def test_probability_both_kinds_and_the_generator() -> None:
    generator = torch.Generator().manual_seed(2)
    drawn = [draw_mix(0.8, 1.0, 0.5, generator) for _ in range(1000)]
    kinds = [None if mix is None else mix.box is None for mix in drawn]
    assert np.isclose(kinds.count(None), 500, atol=60)
    assert np.isclose(kinds.count(True), 250, atol=50)
    again = torch.Generator().manual_seed(2)
    assert [draw_mix(0.8, 1.0, 0.5, again) for _ in range(5)] == drawn[:5]


def test_boxes_cover_the_whole_picture_at_most() -> None:
    assert pixels_of((0.0, 1.0, 0.0, 1.0), 7, 9) == (0, 7, 0, 9)


CHANGES = ["data.augment.color_jitter=0.4", "data.augment.rand_augment={magnitude: 20}", "data.augment.erase=0.5"]


@dataclass
class Pretended:
    """As much of a Fabric as tells where it is."""

    device: torch.device


def test_batches_are_changed_on_the_device(repository):
    recipe = load_recipe(repository / "recipes/tiny/mmir_i3d.yaml", CHANGES).recipe
    photometric, generator = photometric_of(recipe), np.random.default_rng(0)

    def part(seed: int) -> ClipBatch:
        clips = {"rgb": clip_of(3, seed), "flow": clip_of(2, seed)}
        drawn_B4 = torch.stack([photometric.draw(generator) for _ in range(2)])
        return ClipBatch(narration_ids=["a", "b"], clips=clips, photometric_B4=drawn_B4)

    labels = Labels(verb_B=torch.zeros(2), noun_B=torch.zeros(2))
    batch = Batch(LabelledClipBatch(labels=labels, **vars(part(0))), part(1))
    moved = to_device(Fabric(accelerator="cpu", devices=1), recipe, batch)
    for domain, given in batch.by_domain().items():
        done = moved.by_domain()[domain]
        assert done.photometric_B4 is None
        expected = photometric.apply_batch(given.clips, given.photometric_B4)
        for name, clip in done.clips.items():
            assert torch.equal(clip, expected[name])
    assert not torch.equal(moved.source.clips["rgb"], batch.source.clips["rgb"])


def test_workers_leave_it_to_a_gpu_alone():
    assert augments_on_device(Pretended(torch.device("cuda")))
    assert not augments_on_device(Pretended(torch.device("cpu")))


def clip_of(channels, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (2, channels, 4, 32, 32), dtype=torch.uint8, generator=generator)
