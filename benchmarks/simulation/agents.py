"""MMIR's agents on all instances of a simulation."""

import torch
from agent_looks import Look, look_at
from torch import nn

from epicsub.adaptation import MMIR, AdaptationMethod
from simulation.generator import Simulation


@torch.no_grad()
def look_at_agents(method: AdaptationMethod | None, net: nn.Module, data: Simulation, seed: int) -> dict[str, Look]:
    """One row an agent; nothing for methods without agents."""
    if not isinstance(method, MMIR):
        return {}
    parts = {"source": data.source, "target": data.target}
    outputs = {domain: net(part.features) for domain, part in parts.items()}
    return look_at(method, outputs, {domain: part.planted for domain, part in parts.items()}, seed)
