"""One run of the simulation: the network, any method of epsicub.adaptation, 500 + 1,500 steps, what came out.

Shapes: B instances of a batch, D features.
"""

import math
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation import AdaptationBatch, AdaptationMethod
from epicsub.models.heads import TwoHeadOutput
from epicsub.training.agents import AgentOptimizers, missed_updates
from simulation.agents import AgentQuality, quality_of_agents
from simulation.arms import Arm, Case
from simulation.generator import Instances, Simulation

BATCH = 40
STEPS = (500, 1500)  # of the stages
LEARNING_RATES = (0.05, 0.01)
AGENT_LEARNING_RATE = 0.01
MOMENTUM, WEIGHT_DECAY, CLIP = 0.9, 1e-7, 2.0
CHECKS, CHECK_EVERY = 9, 50


@dataclass
class Outcome:
    """What a run gives."""

    accuracy: float = math.nan
    """Percent of test instances, mean over the last checks; nan for a diverged run."""
    checks: list[float] = field(default_factory=list)
    """The checks it is the mean of."""
    diverged_at: int | None = None
    """Step whose loss was not finite."""
    last_finite: float | None = None
    """Percent of test instances of a diverged run after the step before; of networks without batch norm."""
    missed: dict[str, int] = field(default_factory=dict)
    """Updates that each agent missed, since its loss or gradient was not finite."""
    removed: dict[str, float] = field(default_factory=dict)
    """Share of planted instances among those removed in the second half of stage 2, by modality and domain."""
    agents: dict[str, dict[str, float]] = field(default_factory=dict)
    """By agent: see simulation.agents. Means over the last checks."""


def train(data: Simulation, arm: Arm, lam: float, seed: int, labelled: Instances | None = None) -> Outcome:
    """Train and score on the test instances.

    Args:
        data: both kitchens.
        arm: what is trained.
        lam: final strength of the gradient reversal.
        seed: of all weights and of the order of instances; the same for every arm.
        labelled: what to learn from instead of the source: the upper bound.
    """
    labelled = labelled or data.source
    draws = torch.Generator().manual_seed(seed + 1_000_000)
    orders = [_order(len(part), sum(STEPS), draws) for part in (labelled, data.target)]
    torch.manual_seed(seed)
    net = arm.net()
    method = arm.method(Case(data, lam, net))
    aligns = method is not None and not method.target_batch_after_training
    optimizer, agents = _optimizers(net, method)
    outcome, qualities, planted = Outcome(), [], _Counter()
    for step in range(sum(STEPS)):
        stage = int(step >= STEPS[0])
        rows = (orders[0][step], orders[1][step])
        parts = [labelled, data.target] if stage and aligns else [labelled]
        outputs = [net(_take(part, arm, chosen)) for part, chosen in zip(parts, rows, strict=False)]
        optimizer.param_groups[0]["lr"] = LEARNING_RATES[stage]
        loss, by_agent, removed = _losses(
            net, method, arm.class_weight, labelled.labels[rows[0]], outputs, rows, step, seed
        )
        if not bool(torch.isfinite(loss)):
            outcome.diverged_at = step
            if next(net.buffers(), None) is None:  # running statistics of this step may not be finite
                outcome.last_finite = accuracy(net, method, arm, data)
            return outcome
        _update(loss, by_agent, optimizer, agents)
        if stage and method:
            method.after_step(step)
            if step >= STEPS[0] + STEPS[1] // 2:
                planted.count(removed, {"source": labelled.planted[rows[0]], "target": data.target.planted[rows[1]]})
        left = sum(STEPS) - step - 1
        if left % CHECK_EVERY == 0 and left // CHECK_EVERY < CHECKS:
            outcome.checks.append(accuracy(net, method, arm, data))
            qualities.append(quality_of_agents(method, net, data, seed + left))
    outcome.accuracy = sum(outcome.checks) / len(outcome.checks)
    outcome.missed = missed_updates(agents)
    outcome.removed, outcome.agents = planted.shares(), _mean(qualities)
    return outcome


def accuracy(net: nn.Module, method: AdaptationMethod | None, arm: Arm, data: Simulation) -> float:
    """Top-1 on the test instances in percent, after what the method does at the end of training."""
    trained = deepcopy(net)
    if method and method.target_batch_after_training:
        everything = torch.arange(len(data.target))
        method.after_training(trained, [_take(data.target, arm, rows) for rows in everything.split(BATCH)])
    with torch.no_grad():
        logits = trained.eval()(_take(data.test, arm, slice(None))).verb_logits_BV
    return 100.0 * float((logits.argmax(1) == data.test.labels).float().mean())


def _losses(
    net: nn.Module,
    method: AdaptationMethod | None,
    class_weight: float,
    labels_B: Tensor,
    outputs: list[TwoHeadOutput],
    rows: tuple[Tensor, Tensor],
    step: int,
    seed: int,
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """The loss of network and discriminators, that of each agent, and what was removed."""
    if method is None or len(outputs) == 1:
        return _classification(outputs[0], labels_B), {}, {}
    adapted = method.losses(
        AdaptationBatch(
            source=outputs[0],
            target=outputs[1],
            verb_B=labels_B,
            noun_B=torch.zeros_like(labels_B),
            progress=(step - STEPS[0]) / STEPS[1],
            stage=1,
            step=step,
            generator=torch.Generator().manual_seed(seed * 10_000 + step),
            model=net,
            source_ids=[f"source_{row}" for row in rows[0].tolist()],
            target_ids=[f"target_{row}" for row in rows[1].tolist()],
        )
    )
    loss = class_weight * _classification(outputs[0], labels_B, adapted.classified_B) + adapted.alignment
    return loss, dict(adapted.agent_losses or {}), adapted.removed


def _classification(output: TwoHeadOutput, labels_B: Tensor, chosen_B: Tensor | None = None) -> Tensor:
    """Cross-entropy of every classifier there is; planted target instances (-1) have no label to learn."""
    chosen = slice(None) if chosen_B is None else chosen_B
    heads = [output] if output.second is None else [output, output.second]
    losses = [F.cross_entropy(head.verb_logits_BV[chosen], labels_B[chosen], ignore_index=-1) for head in heads]
    return torch.stack(losses).sum()


def _optimizers(
    net: nn.Module, method: AdaptationMethod | None
) -> tuple[torch.optim.Optimizer, AgentOptimizers | None]:
    parameters = [*net.parameters(), *(method.alignment_parameters() if method else ())]
    optimizer = torch.optim.SGD(parameters, lr=0.0, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    agents = method.parameters_by_agent() if method else {}
    return optimizer, AgentOptimizers(agents, AGENT_LEARNING_RATE, MOMENTUM) if agents else None


def _update(
    loss: Tensor, by_agent: dict[str, Tensor], optimizer: torch.optim.Optimizer, agents: AgentOptimizers | None
) -> None:
    """Step network and discriminators, their gradient clipped together, and each agent on its own loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], CLIP)
    optimizer.step()
    if agents is not None:
        agents.step(by_agent)


def _order(count: int, steps: int, generator: torch.Generator) -> Tensor:
    """Rows of every step's batch (steps, B), each instance once before any again."""
    passes = math.ceil(steps * BATCH / count)
    rows = torch.cat([torch.randperm(count, generator=generator) for _ in range(passes)])
    return rows[: steps * BATCH].view(steps, BATCH)


def _take(part: Instances, arm: Arm, rows: Tensor | slice) -> dict[str, Tensor]:
    return {modality: x[rows] for modality, x in (part.frames if arm.frames else part.features).items()}


class _Counter:
    """Planted instances among those removed."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}

    def count(self, removed: dict[str, Tensor], planted: dict[str, Tensor]) -> None:
        for name, positions in removed.items():
            counts = self.counts.setdefault(name, [0, 0])
            counts[0] += int(planted[name.rpartition("_")[2]][positions].sum())
            counts[1] += len(positions)

    def shares(self) -> dict[str, float]:
        return {name: hit / total for name, (hit, total) in self.counts.items()}


def _mean(qualities: list[dict[str, AgentQuality]]) -> dict[str, dict[str, float]]:
    """Means over the checks, leaving out what a check could not tell (no reward was positive)."""
    found: dict[str, dict[str, float]] = {}
    for name in qualities[0] if qualities else ():
        for figure in AgentQuality._fields:
            values = [getattr(quality[name], figure) for quality in qualities]
            known = [value for value in values if not math.isnan(value)]
            found.setdefault(name, {})[figure] = sum(known) / len(known) if known else math.nan
    return found
