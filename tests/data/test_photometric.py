"""Colours, RandAugment and erasing: against slow references, the same in every frame, in the worker and in a batch."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from epicsub.data.photometric import PhotometricAugmentation, RandAugment, _jitter_colors
from epicsub.modality import MODALITIES


def noise(frames, height, width, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, height, width, channels), dtype=torch.uint8, generator=generator)


def clips_of(frames=4, side=32, seed=0):
    """{modality: (C, T, H, W)}"""
    return {name: noise(frames, side, side, c, seed).permute(3, 0, 1, 2) for name, c in (("rgb", 3), ("flow", 2))}


def still(side=32):
    """Every frame the same smooth picture."""
    ramp = torch.arange(side, dtype=torch.uint8).repeat(side, 1) * (256 // side)
    frame_CHW = torch.stack((ramp, ramp.T, ramp.flip(1)))
    return {"rgb": frame_CHW.unsqueeze(1).repeat(1, 5, 1, 1)}


@pytest.mark.parametrize("factors", [(1.2, 1.0, 1.0), (1.0, 0.7, 1.0), (1.0, 1.0, 0.5), (0.9, 1.3, 1.4)])
def test_colours_against_floats(factors):
    clip = noise(2, 12, 10, 3)
    brightness, contrast, saturation = factors
    image = clip.double().numpy() * brightness
    image = np.clip(np.round((image - image.mean()) * contrast + image.mean()), 0, 255)
    gray = image @ np.array([0.299, 0.587, 0.114])
    image = np.clip(image * saturation + gray[..., None] * (1 - saturation), 0, 255)
    assert np.abs(_jitter_colors(clip, *factors).numpy() - image).max() < 2.0


def test_no_change_of_colours_is_none():
    clip = noise(2, 12, 10, 3)
    assert torch.equal(_jitter_colors(clip, 1.0, 1.0, 1.0), clip)


def test_nothing_is_changed_by_default():
    photometric, clips = PhotometricAugmentation(), clips_of()
    assert not photometric
    changed = photometric.apply(clips, photometric.draw(np.random.default_rng(0)))
    assert all(torch.equal(changed[name], clips[name]) for name in clips)


@pytest.mark.parametrize(
    "photometric", [PhotometricAugmentation(color_jitter=0.5), PhotometricAugmentation(rand_augment=RandAugment(2, 15))]
)
def test_colours_and_rand_augment_leave_flow_alone(photometric):
    clips = clips_of()
    changed = [photometric.apply(clips, photometric.draw(np.random.default_rng(seed))) for seed in range(8)]
    assert all(torch.equal(out["flow"], clips["flow"]) for out in changed)
    assert any(not torch.equal(out["rgb"], clips["rgb"]) for out in changed)
    assert all(out["rgb"].dtype == torch.uint8 for out in changed)


@pytest.mark.parametrize("operations", [1, 3])
def test_rand_augment_is_torchvisions_and_the_same_for_all_frames(operations):
    """Each frame alone, with the seed that was drawn, comes out as it does within the clip."""
    photometric, clips = PhotometricAugmentation(rand_augment=RandAugment(operations, 20)), still()
    peer = v2.RandAugment(operations, 20, fill=list(MODALITIES["rgb"].fill))
    for seed in range(30):
        drawn = photometric.draw(np.random.default_rng(seed))
        out = photometric.apply(clips, drawn)["rgb"]
        assert (out == out[:, :1]).all()
        torch.manual_seed(int(drawn[3]))
        assert torch.equal(out[:, 0], peer(clips["rgb"][:, 0]))


def test_erasing_fills_one_box_in_every_frame_and_modality():
    photometric = PhotometricAugmentation(erase=0.5)
    clips = {name: torch.where(clip == MODALITIES[name].fill[0], 0, clip) for name, clip in clips_of(side=40).items()}
    erased, shares = 0, []
    for seed in range(60):
        out = photometric.apply(clips, photometric.draw(np.random.default_rng(seed)))
        inside = out["rgb"][0] == MODALITIES["rgb"].fill[0]
        for name, clip in out.items():
            fill_C111 = torch.tensor(MODALITIES[name].fill, dtype=torch.uint8).view(-1, 1, 1, 1)
            assert torch.equal(clip, torch.where(inside, fill_C111, clips[name]))
        assert (inside == inside[:1]).all()
        rows, columns = inside[0].any(1), inside[0].any(0)
        assert int(inside[0].sum()) == int(rows.sum() * columns.sum())  # a whole box
        erased += bool(inside.any())
        shares += [float(inside[0].float().mean())] if inside.any() else []
    assert 18 < erased < 42
    assert 0.01 < min(shares) < 0.1  # 0.02 but for rounding to pixels
    assert 0.2 < max(shares) < 0.35


@pytest.mark.parametrize(
    "photometric",
    [
        PhotometricAugmentation(0.4),
        PhotometricAugmentation(1.0, erase=0.5),
        PhotometricAugmentation(rand_augment=RandAugment(2, 9)),
        PhotometricAugmentation(0.4, RandAugment(3, 25), 0.7),
    ],
    ids=["colours", "strong colours, erasing", "RandAugment", "all"],
)
def test_the_batch_comes_out_as_its_clips_do(photometric):
    """What is left to the device is what the worker would have done, computed for all clips at once."""
    clips = [clips_of(seed=number) for number in range(24)]
    drawn = [photometric.draw(np.random.default_rng(number)) for number in range(24)]
    batch = {
        name: torch.stack([clip[name] for clip in clips]).contiguous(memory_format=torch.channels_last_3d)
        for name in ("rgb", "flow")
    }
    before = {name: clip.clone() for name, clip in batch.items()}
    state = torch.get_rng_state()
    together = photometric.apply_batch(batch, torch.stack(drawn))
    assert torch.equal(torch.get_rng_state(), state)
    for name, clip_BCTHW in together.items():
        assert torch.equal(batch[name], before[name])
        singles = torch.stack([photometric.apply(c, d)[name] for c, d in zip(clips, drawn, strict=True)])
        apart = (clip_BCTHW.int() - singles.int()).abs()
        assert torch.equal(clip_BCTHW, singles), (int(apart.max()), int((apart > 0).sum()))
        assert clip_BCTHW.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_batch_is_augmented_by_operations_and_not_by_clips(monkeypatch):
    """As many kernels for forty clips as torchvision has operations at most, each way."""
    performed = []
    plain = v2.RandAugment._apply_image_or_video_transform
    monkeypatch.setattr(
        v2.RandAugment,
        "_apply_image_or_video_transform",
        lambda self, image, name, size, **more: (
            performed.append((name, size)),
            plain(self, image, name, size, **more),
        )[1],
    )
    photometric = PhotometricAugmentation(0.4, RandAugment(1, 9), 0.5)
    drawn = torch.stack([photometric.draw(np.random.default_rng(number)) for number in range(40)])
    photometric.apply_batch({"rgb": torch.zeros(40, 3, 2, 16, 16, dtype=torch.uint8)}, drawn)
    assert len(performed) == len(set(performed)) < 24


def test_the_process_draws_on_as_if_nothing_had_been_drawn():
    photometric = PhotometricAugmentation(rand_augment=RandAugment(2, 9), erase=1.0)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    photometric.apply(clips_of(), photometric.draw(np.random.default_rng(0)))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"color_jitter": 1.5}, "color_jitter"),
        ({"erase": -0.1}, "erase"),
        ({"rand_augment": RandAugment(0, 9)}, "rand"),
    ],
)
def test_impossible_settings(settings, named):
    with pytest.raises(ValueError, match=named):
        PhotometricAugmentation(**settings)
