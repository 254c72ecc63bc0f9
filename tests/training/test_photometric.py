"""What workers leave to the device is done there, on the clips of both domains, before a step sees them."""

from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric

from epicsub.recipe import load_recipe
from epicsub.training.photometric import augments_on_device, photometric_of, to_device

CHANGES = ["data.augment.color_jitter=0.4", "data.augment.rand_augment={magnitude: 20}", "data.augment.erase=0.5"]


@dataclass
class Pretended:
    """As much of a Fabric as tells where it is."""

    device: torch.device


def test_received_batches_are_changed_on_the_device(repository):
    recipe = load_recipe(repository / "recipes/tiny/mmir_i3d.yaml", CHANGES).recipe
    photometric, generator = photometric_of(recipe), np.random.default_rng(0)
    batch = {
        domain: {
            "clips": {"rgb": clip_of(3, seed), "flow": clip_of(2, seed)},
            "narration_id": ["a", "b"],
            "photometric": torch.stack([photometric.draw(generator) for _ in range(2)]),
        }
        for seed, domain in enumerate(("source", "target"))
    }
    expected = {domain: photometric.apply_batch(part["clips"], part["photometric"]) for domain, part in batch.items()}
    moved = to_device(Fabric(accelerator="cpu", devices=1), recipe, batch)
    for domain, part in moved.items():
        assert set(part) == {"clips", "narration_id"}
        for name, clip in part["clips"].items():
            assert torch.equal(clip, expected[domain][name])
    assert not torch.equal(moved["source"]["clips"]["rgb"], batch["source"]["clips"]["rgb"])


def test_workers_leave_it_to_a_gpu_alone():
    assert augments_on_device(Pretended(torch.device("cuda")))
    assert not augments_on_device(Pretended(torch.device("cpu")))


def clip_of(channels, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (2, channels, 4, 32, 32), dtype=torch.uint8, generator=generator)
