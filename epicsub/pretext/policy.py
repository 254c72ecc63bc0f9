"""Which group of permutations the next phase takes more of: bandit, network, and what they are rewarded by.

[P] the state is the validation error by permutation, the action a group, the reward the improvement of the validation
error over a baseline; policy gradient, sparse updates. Measured on a toy world (docs/order.md): an action per clip
cannot learn, since thousands of draws share one reward; an action per phase can. Shapes: G groups, N permutations.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam

HIDDEN = 32
RATES = {"bandit": 0.15, "network": 0.01}
MIXING = {"bandit": 0.1, "network": 0.3}
"""Share of the even draw in the policy's probabilities."""
WARM_UP = 5  # phases that go through the groups in turn
ENTROPY = 0.01
KEPT = 0.9  # of running means
LARGEST_ADVANTAGE = 3.0
TREND = 5  # errors that the line of the baseline `trend` goes through
LEAST_ERROR = 0.01  # below it a gain is no longer relative
CHOSEN = 0.5
"""Share of a step's clips whose order is of the chosen group; the others' is any."""

Choice = Literal["uniform", "policy", "near_to_far", "far_to_near"]


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """How a policy chooses and learns."""

    policy: Literal["bandit", "network"] = "bandit"
    credit: Literal["phase", "clip"] = "phase"
    """One action per phase, or one per clip, the literal reading of [P]."""
    baseline: Literal["ema", "trend"] = "ema"
    negated: bool = False
    """Reward the opposite: a control."""


class Bandit(nn.Module):
    """A logit per group; sees no state.

    Args:
        groups: G.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.logits_G = nn.Parameter(torch.zeros(groups))

    def forward(self, state: Tensor) -> Tensor:
        """Give the logits.

        Args:
            state: is not read.

        Returns:
            (G,).
        """
        return self.logits_G


class PolicyNetwork(nn.Sequential):
    """A small network from the state to a logit per group [P]; begins with equal ones.

    Args:
        groups: G.
    """

    def __init__(self, groups: int) -> None:
        super().__init__(nn.Linear(2 * groups + 1, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, groups))
        for last in self[2].parameters():
            nn.init.zeros_(last)


def mixed_probabilities(logits_G: Tensor, mixing: float) -> Tensor:
    """Mix a softmax with the even draw.

    Args:
        logits_G: of the policy.
        mixing: share of the even draw.

    Returns:
        (G,), sum 1.
    """
    return (1 - mixing) * logits_G.softmax(dim=0) + mixing / len(logits_G)


def policy_loss(pi_G: Tensor, taken_G: Tensor, advantage: float) -> Tensor:
    """Compute what one gradient step of a policy falls along.

    Args:
        pi_G: probabilities, with a gradient.
        taken_G: share of each group in the actions, sum 1.
        advantage: of these actions.

    Returns:
        Scalar: -(advantage * mean of log pi over the actions + ENTROPY * H(pi)).
    """
    log_G = pi_G.log()
    return -(advantage * (taken_G * log_G).sum() - ENTROPY * (pi_G * log_G).sum())


def class_probabilities(group_N: Tensor, weight_G: Tensor) -> Tensor:
    """How often each permutation is drawn: half of the clips any, half from a group drawn by weight.

    Args:
        group_N: group of each permutation.
        weight_G: probability of each group; all zero for no choice.

    Returns:
        (N,), sum 1.
    """
    count = len(group_N)
    sizes_G = group_N.bincount(minlength=len(weight_G)).double()
    even_N = torch.full((count,), 1.0 / count, dtype=torch.float64)
    if not bool(weight_G.any()):
        return even_N
    return (1 - CHOSEN) * even_N + CHOSEN * (weight_G.double() / sizes_G)[group_N]


class Chooser:
    """Chooses a group per phase for one task, and learns from the error before and after.

    Args:
        groups: G.
        choice: "uniform" chooses none; "policy"; or a fixed course through the groups, from the first ("near_to_far")
            or the last ("far_to_near").
        settings: of the policy.
        seed: of its weights.
    """

    def __init__(self, groups: int, choice: Choice, settings: PolicySettings, seed: int) -> None:
        self.groups, self.choice, self.settings = groups, choice, settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy: nn.Module = Bandit(groups) if settings.policy == "bandit" else PolicyNetwork(groups)
        self._optimizer = Adam(self.policy.parameters(), lr=RATES[settings.policy])
        self._kept: dict[str, Any] = {
            "phase": 0,
            "action": None,
            "weight": [0.0] * groups,
            "taken": [0.0] * groups,
            "state": [0.0] * (2 * groups + 1),
            "error": None,
            "errors": [],
            "baseline": None,
            "square": 0.0,
            "by_group": None,
            "smoothed": [0.0] * groups,
            "count": 0,
            "mean": [0.0] * (2 * groups),
            "spread": [0.0] * (2 * groups),
        }

    @property
    def learns(self) -> bool:
        """True if the group is chosen by a policy."""
        return self.choice == "policy"

    @property
    def action(self) -> int | None:
        """Group of the phase; None where there is none, or one per clip."""
        return self._kept["action"]  # type: ignore[no-any-return]

    @property
    def weight_G(self) -> Tensor:  # noqa: N802  # shape
        """(G,) weight of each group in the chosen half of the phase's clips; all zero where nothing is chosen."""
        return torch.tensor(self._kept["weight"])

    def probabilities(self) -> Tensor:
        """Give the policy's probabilities in the present state.

        Returns:
            (G,), with a gradient.
        """
        logits_G = self.policy(torch.tensor(self._kept["state"], dtype=torch.float32))
        return mixed_probabilities(logits_G, MIXING[self.settings.policy])

    def begin(self, progress: float, generator: torch.Generator) -> None:
        """Begin a phase: set `action` and `weight_G`.

        Args:
            progress: share of the run that is done, 0 to 1.
            generator: a CPU generator, of the phase alone.
        """
        kept = self._kept
        kept["taken"], kept["weight"], kept["action"] = [0.0] * self.groups, [0.0] * self.groups, None
        kept["state"] = [*kept["state"][:-1], progress]
        if self.choice == "uniform":
            return
        if self.choice == "policy" and kept["phase"] >= WARM_UP:
            pi_G = self.probabilities().detach()
            if self.settings.credit == "clip":
                kept["weight"] = pi_G.tolist()
                return
            kept["action"] = int(torch.multinomial(pi_G, 1, generator=generator))
        elif self.choice == "policy":
            kept["action"] = kept["phase"] % self.groups
        else:
            place = min(int(progress * self.groups), self.groups - 1)
            kept["action"] = place if self.choice == "near_to_far" else self.groups - 1 - place
        kept["weight"][kept["action"]] = 1.0

    def count(self, drawn_G: Tensor) -> None:
        """Note the groups that a step drew, for credit by clip.

        Args:
            drawn_G: clips of each group in the chosen half.
        """
        self._kept["taken"] = [a + float(b) for a, b in zip(self._kept["taken"], drawn_G, strict=True)]

    def end(self, error: float, error_G: list[float]) -> dict[str, float]:
        """End a phase with a check on the fixed items; the policy takes one step.

        Args:
            error: share of wrong answers, all items.
            error_G: of each group's items.

        Returns:
            What to log: gain, reward, advantage, and the probability of each group before the step.
        """
        kept = self._kept
        logs: dict[str, float] = {}
        if kept["error"] is not None:
            gain = (kept["error"] - error) / max(kept["error"], LEAST_ERROR)
            logs = {"gain": gain} | (self._learn(gain, error) if self.learns else {})
            kept["phase"] += 1
        kept["errors"] = [*kept["errors"], error][-TREND:]
        kept["error"] = error
        self._observe(error_G)
        return logs

    def _learn(self, gain: float, error: float) -> dict[str, float]:
        """One step of the policy, unless the phase was of the warm-up."""
        kept = self._kept
        if self.settings.baseline == "trend":
            reward = _predicted(kept["errors"]) - error
        else:
            kept["baseline"] = gain if kept["baseline"] is None else kept["baseline"]
            reward = gain - kept["baseline"]
            kept["baseline"] = KEPT * kept["baseline"] + (1 - KEPT) * gain
        reward = -reward if self.settings.negated else reward
        kept["square"] += (reward**2 - kept["square"]) / (kept["phase"] + 1)  # the mean over all phases
        scaled = reward / kept["square"] ** 0.5 if kept["square"] > 0 else 0.0
        advantage = max(-LARGEST_ADVANTAGE, min(LARGEST_ADVANTAGE, scaled))
        pi_G = self.probabilities()
        logs = {"reward": reward, "advantage": advantage}
        logs |= {f"pi_{group}": float(p) for group, p in enumerate(pi_G.detach())}
        if kept["action"] is not None:
            taken_G = nn.functional.one_hot(torch.tensor(kept["action"]), self.groups).float()
        else:
            drawn_G = torch.tensor(kept["taken"])
            taken_G = drawn_G / drawn_G.sum().clamp_min(1.0)
        self._optimizer.zero_grad()
        policy_loss(pi_G, taken_G, advantage).backward()  # type: ignore[no-untyped-call]  # torch's
        self._optimizer.step()
        return logs

    def _observe(self, error_G: list[float]) -> None:
        """The next state: error of each group and its smoothed change, standardised by running statistics."""
        kept = self._kept
        before = kept["by_group"] or error_G
        kept["smoothed"] = [
            KEPT * s + (1 - KEPT) * (now - then) for s, now, then in zip(kept["smoothed"], error_G, before, strict=True)
        ]
        kept["by_group"] = list(error_G)
        seen = [*error_G, *kept["smoothed"]]
        kept["count"] += 1
        old = kept["mean"]
        kept["mean"] = [m + (x - m) / kept["count"] for m, x in zip(old, seen, strict=True)]
        kept["spread"] = [
            s + (x - m) * (x - new) for s, x, m, new in zip(kept["spread"], seen, old, kept["mean"], strict=True)
        ]
        scale = [max((s / kept["count"]) ** 0.5, 1e-6) for s in kept["spread"]]
        kept["state"] = [
            *((x - m) / s for x, m, s in zip(seen, kept["mean"], scale, strict=True)),
            kept["state"][-1],
        ]

    def state_dict(self) -> dict[str, Any]:
        """Collect what a resumed run needs.

        Returns:
            Plain values and tensors.
        """
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "kept": {name: list(x) if isinstance(x, list) else x for name, x in self._kept.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state.

        Args:
            state: of `state_dict`.
        """
        self.policy.load_state_dict(state["policy"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._kept = {name: list(x) if isinstance(x, list) else x for name, x in state["kept"].items()}


def _predicted(errors: list[float]) -> float:
    """The next error by a line through the logarithms of the last ones."""
    if len(errors) < 2:
        return errors[-1]
    logs = torch.tensor(errors, dtype=torch.float64).clamp_min(1e-6).log()
    times = torch.arange(len(errors), dtype=torch.float64)
    slope = ((times - times.mean()) * (logs - logs.mean())).sum() / ((times - times.mean()) ** 2).sum()
    return float((logs.mean() + slope * (len(errors) - times.mean())).exp())
