"""Six slots a slice of time: who is in them, and where crops, mirrors and views take them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from epicsub.data.boxes.crop import hand_box, hand_crop
from epicsub.data.boxes.detections import ArraysBuilder, FrameDetections, Hand, Thing
from epicsub.data.boxes.slots import BoxSource, SlotSettings, move_slots
from epicsub.data.boxes.store import Note, boxes_path, write_boxes
from epicsub.data.transforms import TrainTransform, view_crops, view_moves, whole_pixels
from epicsub.errors import DataError
from epicsub.modality import HAND_CROP
from epicsub.slots import ENTRIES, PRESENT, SEEN, Slots

LEVEL = 1 / 65535


def put(root: Path, frames: list[FrameDetections], rate: float = 60, size: tuple[int, int] = (456, 256)) -> None:
    builder = ArraysBuilder()
    for frame in frames:
        builder.add(frame)
    note = Note(detector="test", source={}, rate=rate, width=size[0], height=size[1])
    write_boxes(boxes_path(root, "P01_01"), builder.finish(), note)


def hand(left: float, side: int, score: float = 0.9, state: int = 0, offset: tuple[float, float] = (0.0, 0.0)) -> Hand:
    return Hand((left, 0.2, left + 0.2, 0.4), score, state, offset, side)


def thing(left: float, top: float, score: float = 0.9, size: float = 0.1) -> Thing:
    return Thing((left, top, left + size, top + size), score)


def fill(root: Path, seconds: np.ndarray, **settings: object) -> Slots:
    settings = {"slices": 1, "enlarge": 1.0} | settings
    return Slots.of(torch.from_numpy(BoxSource(root, SlotSettings(**settings)).fill("P01_01", seconds)))


def test_the_best_hand_of_each_side_averaged_by_its_score(tmp_path: Path) -> None:
    first = FrameDetections([hand(0.1, 0, 0.6), hand(0.7, 0, 0.55), hand(0.5, 1, 0.4)], [])
    second = FrameDetections([hand(0.3, 0, 0.9, state=2)], [])
    put(tmp_path, [first, second])
    slots = fill(tmp_path, np.array([0.0, 1 / 60]))
    assert slots.present_BTS.tolist() == [[True, False, False, False, False, False]]
    left = (0.6 * 0.1 + 0.9 * 0.3) / 1.5
    assert slots.corners_BTS4[0, 0].tolist() == pytest.approx([left, 0.2, left + 0.2, 0.4], abs=2 * LEVEL)
    assert float(slots.score_BTS[0, 0]) == pytest.approx(0.75, abs=LEVEL)
    assert slots.state_BTS5[0, 0].tolist() == [0, 0, 1, 0, 0]  # of the higher sum of scores
    assert float(slots.seen_BTS[0, 0]) == 1
    assert float(fill(tmp_path, np.array([0.0] * 3 + [9.0])).seen_BTS[0, 0]) == 1  # past the end is the last frame
    assert float(fill(tmp_path, np.array([0.0, 1 / 60]), hand_score=0.7).seen_BTS[0, 0]) == 0.5


def test_what_a_hand_holds_is_nearest_in_pixels_to_where_it_points(tmp_path: Path) -> None:
    held = hand(0.1, 1, state=3, offset=(0.3, 0.3))  # to (.5, .6)
    across, down = thing(0.53, 0.55), thing(0.45, 0.675)  # .08 of the width, .125 of the height
    put(tmp_path, [FrameDetections([held], [across, down, thing(0.8, 0.8, 0.95), thing(0.0, 0.8, 0.6)])])
    slots = fill(tmp_path, np.array([0.0]))
    assert slots.present_BTS.tolist() == [[False, True, False, True, True, True]]
    assert float(slots.corners_BTS4[0, 3, 0]) == pytest.approx(0.45, abs=LEVEL)  # 32 px off, the other 36.5
    assert slots.corners_BTS4[0, 4:, 0].tolist() == pytest.approx([0.8, 0.53], abs=LEVEL)  # the rest by score
    assert slots.state_BTS5[0, 3:].sum() == 0
    put(tmp_path, [FrameDetections([held._replace(state=2)], [across])])
    assert fill(tmp_path, np.array([0.0])).present_BTS.tolist() == [[False, True, False, False, True, False]]
    put(tmp_path, [FrameDetections([held._replace(state=255)], [across])])  # of a detector that tells no contact
    unknown = fill(tmp_path, np.array([0.0]))
    assert unknown.present_BTS.tolist() == [[False, True, False, False, True, False]]
    assert unknown.state_BTS5.sum() == 0
    put(tmp_path, [FrameDetections([held], [])])
    assert fill(tmp_path, np.array([0.0])).present_BTS.sum() == 1
    put(tmp_path, [FrameDetections([held], [across])])
    assert fill(tmp_path, np.array([0.0]), object_score=0.95).present_BTS.sum() == 1
    put(tmp_path, [FrameDetections([held._replace(corners=(0.3, 0.2, 0.3, 0.4))], [])])  # without area
    assert fill(tmp_path, np.array([0.0])).present_BTS.sum() == 0


def test_slices_take_their_own_frames_and_others_of_the_middle_one(tmp_path: Path) -> None:
    frames = [FrameDetections([hand(0.05 * n, 0)], [thing(0.05 * n, 0.7)]) for n in range(8)]
    put(tmp_path, frames, rate=50)
    slots = fill(tmp_path, np.arange(8) / 50, slices=2)
    assert slots.corners_BTS4[:, 0, 0].tolist() == pytest.approx([0.075, 0.275], abs=2 * LEVEL)
    assert slots.corners_BTS4[:, 4, 0].tolist() == pytest.approx([0.05, 0.25], abs=LEVEL)
    enlarged = fill(tmp_path, np.arange(8) / 50, slices=2, enlarge=1.5)
    assert enlarged.corners_BTS4[1, 4].tolist() == pytest.approx([0.225, 0.675, 0.375, 0.825], abs=2 * LEVEL)
    assert enlarged.corners_BTS4[0, 0].tolist() == pytest.approx([0.025, 0.15, 0.325, 0.45], abs=2 * LEVEL)


def test_a_video_without_boxes_stops_unless_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"P01_01\.safetensors: cannot be read: No such file"):
        fill(tmp_path, np.array([0.0]))
    assert fill(tmp_path, np.array([0.0]), missing="none").present_BTS.sum() == 0
    put(tmp_path, [FrameDetections([], [])])
    path = boxes_path(tmp_path, "P01_01")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="is no whole file of boxes: run `epicsub data boxes` again"):
        fill(tmp_path, np.array([0.0]), missing="none")


def slot(box: tuple[float, float, float, float]) -> np.ndarray:
    slots_TSE = np.zeros((1, 6, ENTRIES), np.float32)
    slots_TSE[0, 0, :4], slots_TSE[0, 0, PRESENT], slots_TSE[0, 0, SEEN] = box, 1, 1
    return slots_TSE


def check_white(picture_CHW: torch.Tensor, slots_TSE: np.ndarray, size: int, mirrored: bool) -> bool:
    """Whether a box is there; then the white square of the picture lies in it, to a pixel of the resized edge."""
    parts = Slots.of(torch.from_numpy(slots_TSE))
    place = 1 if mirrored else 0
    assert int(parts.present_BTS.sum()) == int(parts.present_BTS[0, place])
    ys, xs = np.nonzero(picture_CHW[0].numpy() > 127)
    if not parts.present_BTS[0, place]:
        return False
    x0, y0, x1, y1 = (parts.corners_BTS4[0, place] * size).tolist()
    drawn = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert np.abs(np.array(drawn) - (x0, y0, x1, y1)).max() <= 1, (drawn, (x0, y0, x1, y1))
    return True


def test_a_drawn_square_stays_in_its_box_through_crops_flips_and_views() -> None:
    random = np.random.default_rng(0)
    kept = 0
    for draw in range(200):
        height, width = (int(side) for side in random.integers(70, 200, 2))
        top, left = int(random.integers(0, height - 30)), int(random.integers(0, width - 30))
        tall, wide = (int(side) for side in random.integers(12, 30, 2))
        clip = torch.zeros(2, height, width, 3, dtype=torch.uint8)
        clip[:, top : top + tall, left : left + wide] = 255
        slots_TSE = slot((left / width, top / height, (left + wide) / width, (top + tall) / height))
        if draw % 2:
            transform = TrainTransform(80, 64, "random_resized", area=[0.2, 1.0])
        else:
            transform = TrainTransform(80, 64, "scale_jitter", scales=[1.0, 0.875, 0.6])
        move = transform.draw(height, width, random)
        shown = transform.apply({"rgb": clip}, move)["rgb"]
        moved_TSE = move_slots(slots_TSE, whole_pixels(move.cut, height, width), move.mirrored, 0.25)
        kept += check_white(shown[:, 0], moved_TSE, 64, move.mirrored)
        if draw % 10 == 0:
            views = view_crops(clip, "rgb", 80, 64, 3, flip=True)
            moves = view_moves(height, width, 80, 64, 3, flip=True)
            assert len(views) == len(moves) == 6
            for view, view_move in zip(views, moves, strict=True):
                moved_TSE = move_slots(slots_TSE, view_move.cut, view_move.mirrored, 0.25)
                kept += check_white(view[:, 0], moved_TSE, 64, view_move.mirrored)
            assert len(view_moves(height, width, 80, 64, 1, flip=False)) == 1
    assert kept > 150


def test_a_mirror_twice_changes_nothing_and_exchanges_the_hands() -> None:
    random = np.random.default_rng(1)
    slots_TSE = random.random((3, 6, ENTRIES)).astype(np.float32)
    slots_TSE[..., 2:4] = slots_TSE[..., 0:2] + 0.1 * random.random((3, 6, 2)).astype(np.float32)
    slots_TSE[..., 0:4] *= 0.9
    whole = view_moves(64, 64, 64, 64, 1, flip=True)
    once = move_slots(slots_TSE, whole[1].cut, True, 0.25)
    assert np.allclose(move_slots(once, whole[1].cut, True, 0.25), slots_TSE, atol=1e-6)
    assert np.allclose(once[:, 1, 4:], slots_TSE[:, 0, 4:])
    assert np.allclose(once[:, 2, 0], 1 - slots_TSE[:, 3, 2])
    assert np.allclose(once[:, 5, 4:], slots_TSE[:, 5, 4:])


@pytest.mark.parametrize(("left", "kept"), [(-0.02, True), (-0.074, True), (-0.076, False), (-0.2, False)])
def test_a_box_of_which_the_crop_leaves_too_little_is_dropped(left: float, kept: bool) -> None:
    cut = view_moves(100, 100, 100, 50, 1, flip=False)[0].cut  # from .25 to .75
    moved = move_slots(slot((0.25 + left, 0.4, 0.35 + left, 0.5)), cut, False, 0.25)
    assert bool(moved[0, 0, PRESENT]) == kept
    assert kept == bool(moved.any())
    if kept:
        assert moved[0, 0, 0] == 0


def test_a_hand_crop_is_a_square_around_hands_and_what_they_hold() -> None:
    slots_TSE = np.zeros((2, 6, ENTRIES), np.float32)
    slots_TSE[0, 1, :4], slots_TSE[0, 1, PRESENT] = (0.5, 0.5, 0.7, 0.7), 1
    slots_TSE[1, 3, :4], slots_TSE[1, 3, PRESENT] = (0.6, 0.3, 0.8, 0.5), 1
    slots_TSE[1, 4, :4], slots_TSE[1, 4, PRESENT] = (0.0, 0.0, 0.1, 0.1), 1  # lies somewhere: not followed
    box = hand_box(slots_TSE, 100, 200)
    assert box is not None
    assert (box.height * 100, box.width * 200) == pytest.approx((75, 75))  # 1.25 x .3 of 200
    assert (box.top * 100, box.left * 200) == pytest.approx((12.5, 92.5))
    slots_TSE[0, 1, :4] = (0.9, 0.9, 1.0, 1.0)  # at the border the square moves inside; never more than the picture
    box = hand_box(slots_TSE, 100, 200)
    assert (box.top, box.height) == pytest.approx((0, 1), abs=1e-6)
    assert box.left + box.width <= 1 + 1e-6
    slots_TSE[0, 1], slots_TSE[1] = 0, 0
    assert hand_box(slots_TSE, 100, 200) is None
    filled = hand_crop(torch.zeros(4, 50, 60, 3, dtype=torch.uint8), slots_TSE, False, 16)
    assert filled.shape == (3, 4, 16, 16)
    assert [filled[channel].unique().tolist() for channel in range(3)] == [[level] for level in HAND_CROP.fill]
    slots_TSE[0, 0, :4], slots_TSE[0, 0, PRESENT] = (0.1, 0.1, 0.2, 0.2), 1
    clip = torch.arange(50 * 60, dtype=torch.int64).reshape(1, 50, 60, 1).expand(2, -1, -1, 3).to(torch.uint8)
    plain, mirrored = (hand_crop(clip, slots_TSE, flip, 16) for flip in (False, True))
    assert torch.equal(plain.flip(-1), mirrored)
