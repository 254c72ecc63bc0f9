"""Boxes of the small kitchens: exact, in the official format, spoiled only as asked, and never at the videos' cost."""

import pickle
from dataclasses import replace
from itertools import islice
from math import ceil
from pathlib import Path

import numpy as np
import pytest

from epicsub.data.boxes.detections import LEFT, PORTABLE, RIGHT, FrameDetections
from epicsub.data.boxes.official import parse_frames
from epicsub.io import sha256
from epicsub.synth import SynthSettings, kitchens, make_kitchens
from epicsub.synth.boxes import frame_boxes
from epicsub.synth.plan import IRRELEVANT, PlannedVideo, plan_videos
from epicsub.synth.render import draw_frames

TINY = {"train": 12, "heldout": 4, "validation": 4, "test": 4, "segments_per_video": 4, "width": 48, "height": 36,
        "longest": 1.2}  # fmt: skip
LARGE = SynthSettings(train=24, heldout=2, validation=2, test=2, width=256, height=192, noise=0, boxes=True, clutter=0)
MAGENTA = (255, 0, 255)


def videos_of(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.rglob("*.MP4")}


def test_videos_keep_their_bytes_and_boxes_are_in_the_official_format(tmp_path: Path) -> None:
    plain, boxed = SynthSettings(**TINY), SynthSettings(**TINY, boxes=True, box_miss=0.5, box_jitter=0.1)
    make_kitchens(tmp_path / "plain", plain, workers=1)
    make_kitchens(tmp_path / "boxed", boxed, workers=1)
    assert videos_of(tmp_path / "plain") == videos_of(tmp_path / "boxed")
    assert not (tmp_path / "plain" / "hand-objects").exists()
    for plan in plan_videos(boxed):
        path = tmp_path / "boxed" / "hand-objects" / plan.participant / f"{plan.video_id}.pkl"
        messages = list(parse_frames(pickle.loads(path.read_bytes())))
        rate = 50 if len(plan.video_id) == 7 else 60
        assert len(messages) == ceil(plan.frames / plan.fps * rate) + 4
        assert [message.number for message in messages] == list(range(1, len(messages) + 1))
        assert {message.video_id for message in messages} == {plan.video_id}
    lost = sorted((tmp_path / "boxed" / "hand-objects").rglob("*.pkl"))[0]
    before = lost.read_bytes()
    lost.unlink()
    assert make_kitchens(tmp_path / "boxed", boxed, workers=1).kept == len(plan_videos(boxed)) - 1
    assert lost.read_bytes() == before
    old = tmp_path / "plain" / "synth.json"  # of kitchens that were made before there were boxes
    old.write_text(old.read_text().partition(',\n "distractors"')[0] + "\n}\n")
    make_kitchens(tmp_path / "plain", plain, workers=1)


def pairs(plan: PlannedVideo, settings: SynthSettings, step: int = 7) -> list[tuple[np.ndarray, FrameDetections]]:
    """Pictures, and the boxes of the same moment."""
    rate = 50 if len(plan.video_id) == 7 else 60
    boxes = list(frame_boxes(plan, settings))
    drawn = enumerate(draw_frames(plan, settings))
    moments = [(index, picture) for index, picture in islice(drawn, 0, 120, step)]
    return [(picture, boxes[round(index / float(plan.fps) * rate)]) for index, picture in moments]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = np.prod(np.clip(high - low, 0, None))
    return float(both / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - both))


def test_the_drawn_hand_lies_in_its_box(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kitchen in kitchens.KITCHENS.items():
        plain = replace(kitchen, skin=MAGENTA, light=1.0, tint=(1.0, 1.0, 1.0), gradient=(0.0, 0.0))
        monkeypatch.setitem(kitchens.KITCHENS, name, plain)
    settings = replace(LARGE, seed=3)
    seen = 0
    for plan in (plan_videos(settings)[0], plan_videos(settings)[-1]):
        for picture, found in pairs(plan, settings):
            magenta = (picture[..., 0] > 130) & (picture[..., 1] < 60) & (picture[..., 2] > 130)
            if not found.hands or magenta.sum() < 200:
                continue
            ys, xs = np.nonzero(magenta)
            drawn = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            box = np.array(found.hands[0].corners) * ((settings.width, settings.height) * 2)
            assert overlap(drawn, box) > 0.9, plan.video_id
            seen += 1
    assert seen > 20


def test_a_mirrored_view_has_a_left_hand_and_tools_are_held() -> None:
    settings = replace(LARGE, irrelevant=0.5, verbs=8, distractors=3)
    held = dict.fromkeys((0, 7, 10), 0)
    for plan in plan_videos(settings):
        rate = 50 if len(plan.video_id) == 7 else 60
        boxes = list(frame_boxes(plan, settings))
        for segment in plan.segments:
            middle = boxes[round((segment.start + segment.stop) / 2 * rate)]
            for hand in middle.hands:
                assert hand.side == (LEFT if segment.kind == IRRELEVANT else RIGHT)
                if segment.verb in held and hand.state == PORTABLE:
                    held[segment.verb] += 1
                    x, y = ((hand.corners[a] + hand.corners[a + 2]) / 2 + hand.offset[a] for a in (0, 1))
                    centres = [
                        ((thing.corners[0] + thing.corners[2]) / 2, (thing.corners[1] + thing.corners[3]) / 2)
                        for thing in middle.objects
                    ]
                    assert min(np.hypot(cx - x, cy - y) for cx, cy in centres) < 1e-6
            if segment.verb in (7, 10) and middle.hands:
                assert len(middle.objects) >= 2  # tool and noun, and what else there lies
    assert all(held.values())


def test_noise_of_boxes_is_what_the_settings_say() -> None:
    plan = plan_videos(replace(LARGE, distractors=3))[0]

    def found(**noise: float) -> list[FrameDetections]:
        return list(frame_boxes(plan, replace(LARGE, distractors=3, **noise)))

    exact = found()
    assert exact == found()
    count = sum(len(frame.objects) + len(frame.hands) for frame in exact)
    missed = sum(len(frame.objects) + len(frame.hands) for frame in found(box_miss=0.25))
    assert missed / count == pytest.approx(0.75, abs=0.04)
    false = sum(len(frame.objects) for frame in found(box_false=0.5)) - sum(len(frame.objects) for frame in exact)
    assert false / len(exact) == pytest.approx(0.5, abs=0.08)
    holding = [place for place, frame in enumerate(exact) if frame.hands and frame.hands[0].state == PORTABLE]
    swapped = found(box_swap=0.5)
    other = [place for place in holding if swapped[place].hands[0].offset != exact[place].hands[0].offset]
    assert len(other) / len(holding) == pytest.approx(0.5, abs=0.08)
    moved = found(box_jitter=0.1)
    shifts = [
        (b.corners[0] - a.corners[0]) / (a.corners[2] - a.corners[0])
        for old, new in zip(exact, moved, strict=True)
        for a, b in zip(old.objects, new.objects, strict=True)
        if 0.05 < a.corners[0] < 0.8
    ]
    assert np.std(shifts) == pytest.approx(0.1, abs=0.02)
    assert abs(np.mean(shifts)) < 0.01


def test_distractors_are_other_nouns_and_boxed_wherever_they_show() -> None:
    settings = replace(LARGE, distractors=2)
    for plan in plan_videos(settings)[:2]:
        fewer = list(frame_boxes(plan, LARGE))
        more = list(frame_boxes(plan, settings))
        added = [len(b.objects) - len(a.objects) for a, b in zip(fewer, more, strict=True)]
        assert min(added) >= 0
        assert max(added) == 2
        picture, other = (next(iter(draw_frames(plan, one))) for one in (LARGE, settings))
        assert (picture != other).any()
