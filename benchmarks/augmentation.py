"""Milliseconds that each change of a training clip costs, beside decoding it: 16 frames over 2 s, 224x224.

    python benchmarks/augmentation.py --json benchmarks/results/augmentation.json

Clips come from the video of benchmarks/loading.py and from its prepared store. On one core, as a worker does it; with a
GPU also there, on a batch of 16 and given for one clip. `peer_` is torchvision's own transform of the same name.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loading_readers import times_from
from loading_video import WIDTH
from machine import benchmark_parser, write_figures
from torchvision.transforms import v2

from epicsub.data.annotations import Segment
from epicsub.data.batch import LabelledClipBatch, Labels
from epicsub.data.loader import set_up_worker
from epicsub.data.photometric import PhotometricAugmentation, RandAugment
from epicsub.data.root import DataRoot
from epicsub.data.sources import ClipSource
from epicsub.data.transforms import TrainTransform
from epicsub.training.augmentation import Mix, mix_batch

REPEATS, BATCH = 40, 16
CROPS: dict[str, dict[str, Any]] = {
    "scale_jitter": {"crop": "scale_jitter", "scales": [1.0, 0.875, 0.75, 0.66]},
    "random_resized_crop": {"crop": "random_resized", "area": [0.3, 1.0]},
}
AUGMENTATIONS = {
    "colour_jitter": PhotometricAugmentation(color_jitter=0.4),
    "rand_augment_2_9": PhotometricAugmentation(rand_augment=RandAugment(2, 9)),
    "erasing": PhotometricAugmentation(erase=1.0),
}


def main() -> None:
    """Measure each, print, write."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("outputs/loading"))
    arguments = parser.parse_args()
    set_up_worker(0)
    segment = Segment("P01_01_0", "P01", "P01_01", 0.0, 170.0, 0, 0, None, None)
    figures, generator = {}, np.random.default_rng(0)
    for name, prepared in (("decode_original", ()), ("decode_prepared", ("rgb",))):
        source = ClipSource(DataRoot(arguments.folder), ("rgb",), prepared=prepared)
        figures[name] = cost(lambda source=source: source.read(segment, times_from(generator.uniform(0, 160))))
    stored = source.read(segment, times_from(30.0))
    assert stored["rgb"].shape[2] < WIDTH
    for name, settings in CROPS.items():
        for flip in (0.0, 1.0):
            transform = TrainTransform(256, 224, flip=flip, **settings)
            figures[name + "_and_flip" * (flip > 0)] = cost(lambda made=transform: made(stored, generator))
    clip = TrainTransform(256, 224, flip=0.0, **CROPS["scale_jitter"])(stored, generator)
    for name, photometric in AUGMENTATIONS.items():
        figures[name] = cost(lambda photometric=photometric: photometric.apply(clip, photometric.draw(generator)))
    peer, clip_TCHW = v2.ColorJitter(0.4, 0.4, 0.4), clip["rgb"].transpose(0, 1)
    figures["peer_colour_jitter"] = cost(lambda: peer(clip_TCHW))
    figures |= of_batches(clip["rgb"], "cpu", 4)
    if torch.cuda.is_available():
        figures |= of_batches(clip["rgb"], "cuda", BATCH)
    for name, value in figures.items():
        print(f"{name:32s} {value:8.2f} ms a clip")
    write_figures(arguments.json, {f"{name}_ms": round(value, 2) for name, value in figures.items()})


def of_batches(clip_CTHW: torch.Tensor, device: str, size: int) -> dict[str, float]:
    """What is done on batches: mixing everywhere, photometric augmentation on a GPU."""
    clips = {"rgb": torch.stack([clip_CTHW] * size).to(device)}
    zeros_B = torch.zeros(size, dtype=torch.int64, device=device)
    source = LabelledClipBatch(narration_ids=[""] * size, clips=clips, labels=Labels(verb_B=zeros_B, noun_B=zeros_B))
    ends = "" if device == "cpu" else f"_{device}"
    figures = {}
    for name, mix in (("mixup", Mix(0.7, None)), ("cutmix", Mix(0.7, (0.2, 0.7, 0.3, 0.8)))):
        figures[name + ends] = cost(lambda mix=mix: mix_batch(source, mix)) / size
    if device != "cpu":
        generator = np.random.default_rng(0)
        for name, photometric in AUGMENTATIONS.items():
            drawn = torch.stack([photometric.draw(generator) for _ in range(size)])
            work: Callable[[], Any] = lambda photometric=photometric, drawn=drawn: photometric.apply_batch(clips, drawn)  # noqa: E731
            figures[name + ends] = cost(work) / size
    return figures


def cost(work: Callable[[], Any]) -> float:
    """Milliseconds of one call, the mean of `REPEATS`, after two that do not count."""
    for _ in range(2):
        work()
    synchronise()
    began = time.perf_counter()
    for _ in range(REPEATS):
        work()
    synchronise()
    return (time.perf_counter() - began) / REPEATS * 1000


def synchronise() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
