"""What MMIR's agents would do without exploring, and what their reward marks, against the planted truth.

Shapes: n instances, D features, K candidate sets of N.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from pairs import interval
from torch import Tensor

from epicsub.adaptation import MMIR
from epicsub.adaptation.dqn import candidate_sets
from epicsub.data.annotations import read_segments
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.inference.targets import Trained
from epicsub.models.heads import TwoHeadOutput
from epicsub.training.build import adaptation_of
from epicsub.training.loaders import view_loader

SETS = 200  # candidate sets an agent is shown


class AgentQuality(NamedTuple):
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
def agent_quality_of(
    method: MMIR, outputs: Mapping[str, TwoHeadOutput], planted: Mapping[str, Tensor], seed: int
) -> dict[str, AgentQuality]:
    """One row per agent.

    Args:
        method: after training.
        outputs: of every instance of `source` and of `target`.
        planted: (n,) bool, as `outputs`.
        seed: of the candidate sets.
    """
    generator = torch.Generator().manual_seed(seed)
    rewards = method.instance_rewards(outputs["source"], outputs["target"])
    qualities = {}
    for domain, output in outputs.items():
        for modality, f_nD in output.features.items():
            name = f"{modality}_{domain}"
            if name not in method.agents:
                continue
            positive_n = rewards[name] > 0
            sets_KN = candidate_sets(len(f_nD), method.settings.candidates, generator)[:SETS]
            action_K = method.agents[name].online(f_nD[sets_KN]).argmax(1)
            picked_K = sets_KN.gather(1, action_K[:, None]).squeeze(1)
            qualities[name] = AgentQuality(
                greedy_precision=_share(planted[domain][picked_K]),
                base=_share(planted[domain]),
                positive=_share(positive_n),
                planted_if_positive=_share(planted[domain][positive_n]),
            )
    return qualities


def quality_of_run(trained: Trained, root: DataRoot, outliers: set[str], seed: int) -> dict[str, dict[str, float]]:
    """The same of a run on features, over its own training lists; nothing of a run without agents.

    Args:
        trained: with the state of its method.
        root: where the lists and features lie.
        outliers: narration ids of what is planted.
        seed: of the candidate sets.
    """
    method = adaptation_of(trained.recipe, trained.model)
    if not isinstance(method, MMIR):
        return {}
    method.load_state_dict(trained.checkpoint.training["adaptation"])
    outputs, planted = outputs_of_run(trained, root, outliers)
    return {name: quality._asdict() for name, quality in agent_quality_of(method, outputs, planted, seed).items()}


@torch.no_grad()
def outputs_of_run(
    trained: Trained, root: DataRoot, outliers: set[str]
) -> tuple[dict[str, TwoHeadOutput], dict[str, Tensor]]:
    """What a run's model makes of its own training lists, one view each.

    Args:
        trained: the run.
        root: where the lists and clips lie.
        outliers: narration ids of what is planted.

    Returns:
        Output, and which instances are planted (n,), both by domain.
    """
    outputs, planted = {}, {}
    for domain, names in {"source": trained.recipe.data.source, "target": trained.recipe.data.target}.items():
        segments = [segment for name in names for segment in read_segments(root.annotations(name))]
        loader = view_loader(trained.recipe, root, segments, Views())
        seen = [trained.model.eval()({m: x.flatten(0, 1) for m, x in views.items()}) for _, views in loader]
        outputs[domain] = TwoHeadOutput(
            torch.cat([output.verb_logits_BV for output in seen]),
            torch.cat([output.noun_logits_BN for output in seen]),
            {m: torch.cat([output.features[m] for output in seen]) for m in trained.recipe.data.modalities},
        )
        planted[domain] = torch.tensor([segment.narration_id in outliers for segment in segments])
    return outputs, planted


def _share(mask: Tensor) -> float:
    return float(mask.float().mean())


def report_agents(arms: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> dict[str, float]:
    """Print means over runs with 95 % intervals, one row per agent; return the means.

    Args:
        arms: arm -> what was seen in each of its runs, by agent and figure.
    """
    print("\n| agent | greedy precision | planted | share of positive rewards | P(planted, given reward above 0) |")
    print("|---|---|---|---|---|")
    figures = {}
    for name, runs in arms.items():
        for agent in runs[0] if runs else ():
            cells = []
            for figure in AgentQuality._fields:
                values = np.array([run[agent][figure] for run in runs])
                values = values[~np.isnan(values)]
                mean = float(values.mean()) if len(values) else math.nan
                cells.append(f"{mean:.3f} ± {interval(values):.3f}")
                figures[f"{name}_{agent}_{figure}"] = mean
            print(f"| {name} {agent} | " + " | ".join(cells) + " |")
    return figures
