"""What workers leave to the device is done there, on the clips of both domains, before a step sees them."""

from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric

from epicsub.data.batch import Batch, ClipBatch, LabelledClipBatch, Labels
from epicsub.recipe import load_recipe
from epicsub.training.loaders import augments_on_device, photometric_of, to_device

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
