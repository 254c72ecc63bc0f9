"""Crops and mirroring against slow references written from their definitions."""

import numpy as np
import pytest
import torch

from epicsub.data.transforms import (
    QUARTERS,
    Box,
    TrainTransform,
    _cut,
    _mirror,
    _random_resized_box,
    _resize,
    _resize_short_side,
    _scale_jitter_box,
    _three_crops,
    view_crops,
)

SCALES = [1.0, 0.875, 0.75, 0.66]


def noise(frames, height, width, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, height, width, channels), dtype=torch.uint8, generator=generator)


def slow_resize(image_HW, height, width):
    """Bilinear with antialiasing by its definition: a triangle as wide as an output pixel (at least an input one)."""
    out = np.asarray(image_HW, np.float64)
    for axis, size in ((0, height), (1, width)):
        scale = out.shape[axis] / size
        reach = max(scale, 1.0)
        rows = []
        for index in range(size):
            centre = (index + 0.5) * scale
            weights = np.maximum(0, 1 - np.abs((np.arange(out.shape[axis]) + 0.5 - centre) / reach))
            rows.append(np.tensordot(weights / weights.sum(), out, axes=(0, axis)))
        out = np.moveaxis(np.stack(rows), 0, axis) if axis == 0 else np.stack(rows, axis=1)
    return out


@pytest.mark.parametrize(("height", "width", "channels"), [(80, 100, 3), (80, 100, 2), (33, 21, 3), (64, 64, 2)])
def test_resize_against_the_definition(height, width, channels):
    clip = noise(2, height, width, channels)
    got = _resize(clip, 40, 28)
    assert got.dtype == torch.uint8
    for frame in range(2):
        for channel in range(channels):
            expected = slow_resize(clip[frame, :, :, channel], 40, 28)
            assert np.abs(got[frame, :, :, channel].numpy() - expected).max() <= 1.01  # rounded once an axis


def test_resize_to_its_own_size_is_nothing():
    clip = noise(1, 20, 30, 3)
    assert _resize(clip, 20, 30) is clip


def test_mirror_negates_u_exactly():
    """All 256 levels: u -> 255 - u at the mirrored place, v only mirrored."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
    flow = torch.cat((levels, levels), dim=-1)
    mirrored = _mirror(flow, "flow")
    for y in range(16):
        for x in range(16):
            assert mirrored[0, y, x, 0] == 255 - int(flow[0, y, 15 - x, 0])
            assert mirrored[0, y, x, 1] == flow[0, y, 15 - x, 1]
    assert torch.equal(_mirror(mirrored, "flow"), flow)
    assert flow[0, 0, 0, 0] == 0  # the original is untouched


def test_mirror_of_rgb_keeps_colours():
    clip = noise(3, 7, 9, 3)
    np.testing.assert_array_equal(_mirror(clip, "rgb").numpy(), clip.numpy()[:, :, ::-1])


def test_mirrored_flow_is_the_flow_of_the_mirrored_video():
    """A dot that goes right by 3 pixels goes left by 3 in the mirror: de-quantised u changes its sign."""
    bound = 20.0
    flow = torch.full((1, 4, 4, 2), 128, dtype=torch.uint8)
    flow[0, 1, 0, 0] = round((3 / bound + 1) * 127.5)
    u = (_mirror(flow, "flow")[0, 1, 3, 0].double() / 127.5 - 1) * bound
    assert u == pytest.approx(-3, abs=bound / 255)


@pytest.mark.parametrize(("height", "width"), [(256, 456), (456, 256), (80, 100)])
def test_scale_jitter_against_slow_tsn(height, width):
    """Every box is one of TSN's, worked out in whole pixels as its code does, to the pixel of rounding."""
    side = min(height, width)
    allowed = set()
    for i, first in enumerate(SCALES):
        for j, second in enumerate(SCALES):
            if abs(i - j) > 1:
                continue
            box_height, box_width = first * side, second * side
            step_y, step_x = (height - box_height) / 4, (width - box_width) / 4
            for y, x in [
                (0, 0),
                (0, 4),
                (4, 0),
                (4, 4),
                (2, 2),
                (0, 2),
                (4, 2),
                (2, 0),
                (2, 4),
                (1, 1),
                (3, 1),
                (1, 3),
                (3, 3),
            ]:
                allowed.add((round(y * step_y, 3), round(x * step_x, 3), round(box_height, 3), round(box_width, 3)))
    generator = np.random.default_rng(0)
    seen = set()
    for _ in range(3000):
        box = _scale_jitter_box(height, width, SCALES, generator)
        pixels = tuple(
            round(share * length, 3) for share, length in zip(box, (height, width, height, width), strict=True)
        )
        assert pixels in allowed
        seen.add(pixels)
    assert seen == allowed


def test_thirteen_places():
    assert len(set(QUARTERS)) == 13


def test_random_resized_box_keeps_its_bounds():
    generator = np.random.default_rng(0)
    areas, aspects = [], []
    for _ in range(2000):
        box = _random_resized_box(256, 456, (0.2, 0.6), generator)
        assert box.top >= 0
        assert box.left >= 0
        assert box.top + box.height <= 1 + 1e-9
        assert box.left + box.width <= 1 + 1e-9
        areas.append(box.height * box.width)
        aspects.append(box.width * 456 / (box.height * 256))
    assert min(areas) >= 0.2 - 1e-9
    assert max(areas) <= 0.6 + 1e-9
    assert 0.75 - 1e-9 <= min(aspects) < 0.8
    assert 1.25 < max(aspects) <= 4 / 3 + 1e-9


def test_random_resized_gives_up_on_the_middle_square():
    assert _random_resized_box(10, 1000, (1.0, 1.0), np.random.default_rng(0)) == Box(0, 0.495, 1, 0.01)


def test_cut_is_whole_pixels_inside():
    clip = noise(2, 10, 20, 3)
    assert torch.equal(_cut(clip, Box(0.2, 0.1, 0.5, 0.25)), clip[:, 2:7, 2:7])
    assert torch.equal(_cut(clip, Box(0, 0, 1, 1)), clip)
    assert _cut(clip, Box(0.99, 0.999, 0.001, 0.001)).shape == (2, 1, 1, 3)


def test_train_transform_is_one_crop_for_frames_and_modalities():
    """Pictures that say where their pixels are: every frame and modality shows the same place."""
    height, width = 64, 96
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), dim=-1).to(
        torch.uint8
    )
    rgb = torch.cat((place, place[..., :1]), dim=-1).repeat(5, 1, 1, 1)
    flow = place.flip(-1).repeat(5, 1, 1, 1)  # u = column, v = row
    transform = TrainTransform(64, 32, "scale_jitter", scales=[0.5], flip=0.5)
    flips = 0
    for seed in range(40):
        out = transform({"rgb": rgb, "flow": flow}, np.random.default_rng(seed))
        assert out["rgb"].shape == (3, 5, 32, 32)
        assert out["flow"].shape == (2, 5, 32, 32)
        assert (out["rgb"] == out["rgb"][:, :1]).all()
        rows, columns = out["rgb"][0, 0].int(), out["rgb"][1, 0].int()
        flipped = bool(columns[0, 0] > columns[0, 1])
        flips += flipped
        u, v = out["flow"][:, 0].int()
        assert torch.equal(v, rows)
        assert torch.equal(255 - u if flipped else u, columns)
        top, left = int(rows.min()), int(columns.min())
        expected = rgb[0, top : top + 32, left : left + 32, :].permute(2, 0, 1)
        assert torch.equal(out["rgb"][:, 0], expected.flip(-1) if flipped else expected)
    assert 10 < flips < 30


def test_modalities_of_other_sizes_show_the_same_place():
    big = noise(2, 8, 12, 2).repeat_interleave(8, 1).repeat_interleave(8, 2)
    transform = TrainTransform(32, 16, "scale_jitter", scales=[0.5], flip=0.0)
    for seed in range(20):
        small = big[:, ::2, ::2]
        out = transform({"rgb": torch.cat((big, big[..., :1]), -1), "flow": small}, np.random.default_rng(seed))
        assert out["flow"].shape == (2, 2, 16, 16)
        difference = (out["rgb"][:2].int() - out["flow"].int()).abs().float().mean()
        assert difference < 15  # the same blocks, but for antialiased edges; other places differ by 85


def test_same_generator_same_clip():
    clips = {"rgb": noise(4, 40, 60, 3), "flow": noise(4, 40, 60, 2)}
    transform = TrainTransform(32, 24, "random_resized", area=[0.3, 1.0], flip=0.5)
    first, again, other = (transform(clips, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for modality in clips:
        assert torch.equal(first[modality], again[modality])
        assert not torch.equal(first[modality], other[modality])


def test_memory_is_channels_last():
    out = TrainTransform(32, 24, "scale_jitter", scales=SCALES)({"rgb": noise(4, 40, 60, 3)}, np.random.default_rng(0))
    batch = torch.stack([out["rgb"].permute(1, 2, 3, 0)] * 2).permute(0, 4, 1, 2, 3)
    assert batch.is_contiguous(memory_format=torch.channels_last_3d)


def test_centre_and_three_crops_by_hand():
    clip = noise(1, 6, 11, 3)
    assert torch.equal(_three_crops(clip, 4)[1], clip[:, 1:5, 3:7])
    crops = _three_crops(clip, 4)
    for crop, left in zip(crops, (0, 3, 7), strict=True):
        assert torch.equal(crop, clip[:, 1:5, left : left + 4])
    for crop, top in zip(_three_crops(clip.transpose(1, 2), 4), (0, 3, 7), strict=True):
        assert torch.equal(crop, clip.transpose(1, 2)[:, top : top + 4, 1:5])


def test_view_crops_order():
    clip = noise(3, 16, 24, 2)
    views = view_crops(clip, "flow", 16, 12, crops=3, flip=True)
    assert views.shape == (6, 2, 3, 12, 12)
    for number, crop in enumerate(_three_crops(clip, 12)):
        assert torch.equal(views[2 * number], crop.permute(3, 0, 1, 2))
        assert torch.equal(views[2 * number + 1], _mirror(crop, "flow").permute(3, 0, 1, 2))
    assert torch.equal(
        view_crops(clip, "flow", 16, 12, crops=1, flip=False)[0], _three_crops(clip, 12)[1].permute(3, 0, 1, 2)
    )


def test_short_side():
    assert _resize_short_side(noise(1, 80, 100, 3), 40).shape == (1, 40, 50, 3)
    assert _resize_short_side(noise(1, 100, 80, 3), 40).shape == (1, 50, 40, 3)
    assert _resize_short_side(noise(1, 240, 426, 3), 256).shape == (1, 256, 454, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop": "corner"},
        {"size": 65},
        {"scales": None},
        {"scales": [1.2]},
        {"crop": "random_resized", "area": [0.5, 0.2]},
        {"flip": 1.5},
    ],
)
def test_impossible_settings(wrong):
    settings = {"short_side": 64, "size": 56, "crop": "scale_jitter", "scales": SCALES} | wrong
    with pytest.raises(ValueError, match=str(list(wrong)[-1])):
        TrainTransform(**settings)
