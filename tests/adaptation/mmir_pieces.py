"""A small MMIR and its steps, for the tests of MMIR."""

from typing import Any

import torch
from torch import Tensor

from epicsub.adaptation import MMIR
from epicsub.recipe.adaptation import MMIRAdaptation
from tests.adaptation import batches
from tests.adaptation.batches import batch_of, section

DIMS = {"rgb": 6, "flow": 4}
EVERY = ["rgb_source", "rgb_target", "flow_source", "flow_target"]


def features(B: int, seed: int, dims: dict[str, int] = DIMS) -> dict[str, Tensor]:
    return batches.features(B, seed, dims)


def method(seed: int = 0, dims: dict[str, int] = DIMS, **settings: Any) -> MMIR:
    torch.manual_seed(seed)
    own = {"q_hidden": (8,)} | {name: settings.pop(name) for name in ("q_hidden", "classes") if name in settings}
    plain = {"replay_size": 24, "replay_batch": 8, "discriminator_hidden": 5}
    return MMIR(dims, section(MMIRAdaptation, **(plain | settings)), **own)


def step(one: MMIR, number: int, B: int = 10, progress: float = 0.5) -> Any:
    draw = torch.Generator().manual_seed(number)
    return one.losses(batch_of(features(B, 2 * number), features(B, 2 * number + 1), progress, number, draw))
