"""What MMIR's agents would do without exploring, and what their reward marks, against the planted truth.

Shapes: n instances, B of a batch, D features, K candidate sets of N.
"""

from typing import NamedTuple

import torch
from torch import nn

from epicsub.adaptation import MMIR, AdaptationMethod
from epicsub.adaptation.discriminator import target_probabilities
from epicsub.adaptation.dqn import candidate_sets
from epicsub.adaptation.relevance import relevance, reward_of
from simulation.generator import Simulation
from simulation.network import TwoStream

SETS = 200  # candidate sets an agent is shown at a check


class Look(NamedTuple):
    """Shares, 0 to 1."""

    greedy_precision: float
    """Planted among an agent's greedy picks (epsilon 0)."""
    base: float
    """Planted among all instances it could pick."""
    positive: float
    """Instances whose removal earns +1."""
    planted_if_positive: float
    """Planted among those."""


@torch.no_grad()
def look_at_agents(method: AdaptationMethod | None, net: nn.Module, data: Simulation, seed: int) -> dict[str, Look]:
    """One row an agent; nothing for methods without agents."""
    if not isinstance(method, MMIR) or not isinstance(net, TwoStream):
        return {}
    generator = torch.Generator().manual_seed(seed)
    looks = {}
    outputs = [net(part.features) for part in (data.source, data.target)]
    ours = method.rewards.deltas(*outputs, method.discriminators) if method.rewards else {}
    for domain in ("source", "target"):
        part = data.source if domain == "source" else data.target
        for modality, f_nD in net.features(part.features).items():
            name = f"{modality}_{domain}"
            if name not in method.agents:
                continue
            if method.rewards:
                positive_n = method.rewards.of_delta(ours[name], method.tau[domain]) > 0
            else:
                p_n = target_probabilities(method.discriminators[modality], f_nD)
                positive_n = reward_of(relevance(p_n, domain), method.tau[domain]) > 0
            sets_KN = candidate_sets(len(f_nD), method.candidates, generator)[:SETS]
            action_K = method.agents[name].online(f_nD[sets_KN]).argmax(1)
            picked_K = sets_KN.gather(1, action_K[:, None]).squeeze(1)
            looks[name] = Look(
                greedy_precision=_share(part.planted[picked_K]),
                base=_share(part.planted),
                positive=_share(positive_n),
                planted_if_positive=_share(part.planted[positive_n]),
            )
    return looks


def _share(mask: torch.Tensor) -> float:
    return float(mask.float().mean())
