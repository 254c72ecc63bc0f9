"""Segments of two short videos, and training clips of them."""

import torch

from epicsub.data.annotations import Segment
from epicsub.data.clips import TrainClips
from epicsub.data.root import DataRoot
from epicsub.data.samplers import StepSampler
from epicsub.data.sources import ClipSource
from epicsub.data.transforms import TrainTransform

SEGMENTS = 6


def segments(video, labels):
    return [
        Segment(
            f"{video}_{n}",
            video[:3],
            video,
            0.3 * n,
            0.3 * n + 0.5,
            1,
            2,
            *((n + 10, n + 20) if labels else (None,) * 2),
        )
        for n in range(SEGMENTS)
    ]


def make_root(folder, make_video, rates):
    """P01_01 and P02_101, with flow."""
    make_video(folder / "videos" / "P01" / "P01_01.MP4", 140, rates["59.94"])
    make_video(folder / "videos" / "P02" / "P02_101.MP4", 120, rates["50"], gop=8)
    # any picture serves as flow here: two halves, side by side
    make_video(folder / "flow" / "P01" / "P01_01.mp4", 70, rates["29.97"], size=(200, 80))
    make_video(folder / "flow" / "P02" / "P02_101.mp4", 119, rates["50"], size=(200, 80))
    return DataRoot(folder)


def train_clips(root, modalities=("rgb", "flow"), source=None, target=None, transform=None, **changes):
    settings = {"frames": 4, "sampling": "dense", "stride": 1 / 30} | changes
    transform = transform or TrainTransform(64, 48, "scale_jitter", scales=[1.0, 0.75], flip=0.5)
    return TrainClips(
        segments("P01_01", True) if source is None else source,
        [segments("P02_101", False)] if target is None else target,
        ClipSource(root, modalities, "pyav"),
        transform=transform,
        **settings,
    )


def steps(first=0, last=3, target=(SEGMENTS,)):
    return StepSampler(SEGMENTS, target, 3, 2 if target else 0, seed=5, first_step=first, last_step=last)


def same(ours, theirs):
    return all(
        torch.equal(getattr(ours, domain).clips[m], getattr(theirs, domain).clips[m])
        for domain in ("source", "target")
        for m in ("rgb", "flow")
    )
