"""The agents' own optimisers: one each, so that an agent whose loss is not finite misses its update and no other does.

Whether it does is decided on the device: nothing here waits for it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import SGD, Optimizer

from epicsub.text import counted

log = logging.getLogger(__name__)


class AgentOptimizers:
    """One SGD per agent, apart from the model's, so that its weight decay and clipping do not reach them.

    Args:
        parameters: of each agent, by name.
        learning_rate: of all.
        momentum: of all.
        clip_grad: largest norm of an agent's gradient; None does not clip.
    """

    def __init__(
        self,
        parameters: Mapping[str, Sequence[nn.Parameter]],
        learning_rate: float,
        momentum: float = 0.0,
        clip_grad: float | None = None,
    ) -> None:
        # fused: on the device it can leave a step out
        self.optimizers = {n: SGD(p, lr=learning_rate, momentum=momentum, fused=True) for n, p in parameters.items()}
        self.clip_grad = clip_grad
        self.skipped: dict[str, Tensor] = {}
        """Updates that each agent has missed, scalars on the device; only of agents that have had a loss."""

    def step(self, losses: Mapping[str, Tensor], fabric: Fabric | None = None) -> None:
        """Step every agent that has a loss, on its gradient; one whose loss or gradient is not finite stays as it is.

        Args:
            losses: scalar by agent, with their graphs.
            fabric: with the processes that share the gradients; None for one.
        """
        if not losses:
            return
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]  # torch's
        for name, loss in losses.items():
            parameters = parameters_of(self.optimizers[name])
            average_gradients(parameters, fabric)
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            norm = get_total_norm(gradients)
            missed = ~(torch.isfinite(loss.detach()) & torch.isfinite(norm))
            if fabric is not None and fabric.world_size > 1:  # all or none, or the copies would part
                missed = fabric.all_reduce(missed.float(), reduce_op="sum") > 0
            if self.clip_grad is not None:
                clip_grads_with_norm_(parameters, self.clip_grad, norm)
            step_unless(self.optimizers[name], missed)
            self.skipped[name] = self.skipped.get(name, torch.zeros_like(missed, dtype=torch.int64)) + missed

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of them.

        Returns:
            State of each agent's optimiser, and the updates it has missed.
        """
        return {
            "agents": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "skipped": dict(self.skipped),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state from a checkpoint, also of versions that had one optimiser for all agents.

        Args:
            state: what `state_dict` gave.
        """
        if "agents" not in state:
            state = {"agents": _by_agent(state, self.optimizers), "skipped": {}}
        for name, optimizer in self.optimizers.items():
            held = state["agents"][name]
            groups = [group | {"fused": True, "foreach": None} for group in held["param_groups"]]
            optimizer.load_state_dict({"state": held["state"], "param_groups": groups})
        device = next((parameters_of(optimizer)[0].device for optimizer in self.optimizers.values()), None)
        self.skipped = {name: count.to(device) for name, count in state["skipped"].items()}


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """List what an optimiser steps.

    Args:
        optimizer: any.

    Returns:
        The parameters of all groups.
    """
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def step_unless(optimizer: Optimizer, missed: Tensor, step: Callable[[], Any] | None = None) -> None:
    """Step a fused optimiser, unless the device says that this step is missed: then no weight and no state changes.

    Args:
        optimizer: fused, of one device.
        missed: bool scalar on the device.
        step: steps it, where that is not its own `step`.
    """
    for group in optimizer.param_groups:  # else the first step makes them, and one that is missed leaves them unwritten
        for parameter in group["params"]:
            if not group.get("momentum") or parameter.grad is None:
                continue
            state = optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)
    optimizer.found_inf = missed.float()  # type: ignore[attr-defined]  # fused optimisers read it, as a GradScaler's
    try:
        (step or optimizer.step)()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]


def average_gradients(parameters: Sequence[nn.Parameter], fabric: Fabric | None) -> None:
    """Average over processes what DistributedDataParallel does not wrap: discriminators and agents.

    Each has the gradient of the whole batch, on one kind of CPU the same to the bit; kernels of a GPU may differ in the
    last digits, and the copies would part.

    Args:
        parameters: with gradients.
        fabric: with the processes; None for one.
    """
    if fabric is not None and fabric.world_size > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = fabric.all_reduce(parameter.grad, reduce_op="mean")


def missed_updates(optimizers: AgentOptimizers | None) -> dict[str, int]:
    """Count the updates that agents have missed, since their loss was not finite.

    Args:
        optimizers: of the agents; None without agents.

    Returns:
        By agent; of those that have had a loss.
    """
    return {} if optimizers is None else {agent: int(count) for agent, count in optimizers.skipped.items()}


def warn_of_missed_updates(optimizers: AgentOptimizers | None, before: Mapping[str, int], step: int) -> dict[str, int]:
    """Warn of updates that agents have missed since they were last counted.

    Args:
        optimizers: of the agents; None without agents.
        before: of then.
        step: of the run, from 1.

    Returns:
        Counts of now.
    """
    now = missed_updates(optimizers)
    for agent, count in now.items():
        if more := count - before.get(agent, 0):
            log.warning(
                "step %d: agent %s missed %s, %d in all: its loss or gradient was not finite. Try a lower "
                "adaptation.agent_lr, adaptation.agent_loss huber or adaptation.agent_clip_grad",
                step, agent, counted(more, "update", "updates"), count,
            )  # fmt: skip
    return now


def _by_agent(state: Mapping[str, Any], optimizers: Mapping[str, Optimizer]) -> dict[str, Any]:
    """State of one SGD over the parameters of all agents, divided among them."""
    found, first = {}, 0
    (group,) = state["param_groups"]
    for name, optimizer in optimizers.items():
        places = range(len(parameters_of(optimizer)))
        own = {place: state["state"][first + place] for place in places if first + place in state["state"]}
        found[name] = {"state": own, "param_groups": [group | {"params": list(places)}]}
        first += len(places)
    return found
