"""MMIR's agents on all instances of a simulation."""

import torch
from agent_quality import AgentQuality, agent_quality_of
from torch import nn

from epicsub.adaptation import MMIR, AdaptationMethod
from simulation.generator import Simulation


@torch.no_grad()
def quality_of_agents(
    method: AdaptationMethod | None, net: nn.Module, data: Simulation, seed: int
) -> dict[str, AgentQuality]:
    """One row per agent; nothing for methods without agents."""
    if not isinstance(method, MMIR):
        return {}
    parts = {"source": data.source, "target": data.target}
    outputs = {domain: net(part.features) for domain, part in parts.items()}
    return agent_quality_of(method, outputs, {domain: part.planted for domain, part in parts.items()}, seed)
