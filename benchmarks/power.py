"""Can the agents learn anything within a benchmark's budget? They are trained with a reward that knows the truth.

Every planted instance pays +1 and every other -1, all else is MMIR of the same recipe, seed and start. Then each agent
picks greedily, without exploring, from sets with exactly one planted instance of five: chance is 0.2, the ceiling 1. An
agent that a perfect reward cannot teach by then says nothing about the paper's reward either.

Shapes: n instances, D features, K candidate sets of N.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from agent_quality import outputs_of_run
from torch import Tensor

from epicsub.adaptation import METHODS, MMIR, AdaptationBatch, AdaptationLosses
from epicsub.data.root import DataRoot
from epicsub.inference.targets import Trained
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe import MMIRAdaptation
from epicsub.training.build import adaptation_of

SETS = 400  # candidate sets an agent is shown


@contextmanager
def perfect_rewards(outliers: Collection[str]) -> Iterator[None]:
    """Within, recipes with MMIR train agents that are paid for planted instances.

    Args:
        outliers: narration ids of what is planted, of both domains.
    """
    known = frozenset(outliers)

    class Perfect(MMIR):
        """MMIR with the truth as its reward."""

        def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
            self.ids = {"source": batch.source_ids, "target": batch.target_ids}
            return super()._losses(batch)

        def instance_rewards(self, source: TwoHeadOutput, target: TwoHeadOutput) -> dict[str, Tensor]:
            device = next(iter(source.features.values())).device
            paid = {
                domain: torch.tensor([1.0 if name in known else -1.0 for name in names], device=device)
                for domain, names in self.ids.items()
            }
            return {name: paid[name.rpartition("_")[2]] for name in self.agent_names}

    METHODS[MMIRAdaptation] = Perfect
    try:
        yield
    finally:
        METHODS[MMIRAdaptation] = MMIR


@torch.no_grad()
def greedy_precision(online: torch.nn.Module, f_nD: Tensor, planted_n: Tensor, candidates: int, seed: int) -> float:
    """Share of sets in which an agent picks the one planted instance.

    Args:
        online: Q-network of the agent.
        f_nD: features of all instances that it could meet.
        planted_n: which are planted.
        candidates: N.
        seed: of the sets.
    """
    generator = torch.Generator().manual_seed(seed)
    planted, others = planted_n.nonzero().flatten(), (~planted_n).nonzero().flatten()
    rows = torch.stack([torch.randperm(len(others), generator=generator)[: candidates - 1] for _ in range(SETS)])
    one_K = planted[torch.randint(len(planted), (SETS,), generator=generator)]
    sets_KN = torch.cat([one_K[:, None], others[rows]], dim=1)
    order_KN = torch.rand(SETS, candidates, generator=generator).argsort(dim=1)
    picked_K = online(f_nD[sets_KN.gather(1, order_KN)]).argmax(dim=1)
    return float((order_KN.gather(1, picked_K[:, None]) == 0).float().mean())


def power_of_run(trained: Trained, root: DataRoot, outliers: set[str], seed: int) -> dict[str, float]:
    """Greedy precision of each agent of a run that was trained within `perfect_rewards`, over its training lists.

    Args:
        trained: the run.
        root: where its lists and clips lie.
        outliers: narration ids of what is planted.
        seed: of the candidate sets.

    Returns:
        By agent.
    """
    method = adaptation_of(trained.recipe, trained.model)
    assert isinstance(method, MMIR)
    method.load_state_dict(trained.checkpoint.training["adaptation"])
    outputs, planted = outputs_of_run(trained, root, outliers)
    return {
        name: greedy_precision(
            agent.online,  # type: ignore[arg-type, union-attr]
            outputs[name.rpartition("_")[2]].features[name.rpartition("_")[0]],
            planted[name.rpartition("_")[2]],
            method.settings.candidates,
            seed,
        )
        for name, agent in method.agents.items()
    }


def mean_power(runs: Mapping[int, list[Mapping[str, float]]]) -> dict[int, float]:
    """Mean over agents and runs of each model."""
    return {model: sum(value for run in of for value in run.values()) / sum(map(len, of)) for model, of in runs.items()}
