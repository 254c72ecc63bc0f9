"""MixUp and CutMix: the same draw for all modalities, labels shared as the pixels are."""

import numpy as np
import pytest
import torch
from scipy import stats

from epicsub.data.batch import LabelledClipBatch
from epicsub.training.mixing import Mix, draw_mix, mix_batch, pixels_of

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
