"""A toy world in which one group of permutations teaches more than the others: does a policy find it?

24 classes in 6 groups, competence c = 0; a step on group mix f adds 3e-4 * (f . u) * (1 - c), where u is 1 for the
useful group and .2 for the others; 120 phases of 100 steps of 32 clips; 512 fixed items, an item wrong where its fixed
uniform number lies below 1 - c, 2 % of answers flipped at each check. No network, no picture: the policy is that of
`epicsub pretrain`, to the number.
"""

from typing import NamedTuple

import numpy as np
import torch

from epicsub.pretext.policy import CHOSEN, Choice, Chooser, PolicySettings

GROUPS, USEFUL, OTHERS = 6, 1.0, 0.2
RATE, PHASES, STEPS, BATCH = 3e-4, 120, 100, 32
ITEMS, FLIPPED = 512, 0.02


class ToyRun(NamedTuple):
    """What a run of the toy world ends with."""

    useful: float
    """Probability of the useful group."""
    error: float
    """1 - competence."""


def toy_run(seed: int, choice: Choice, settings: PolicySettings, equal: bool = False) -> ToyRun:
    """Run the toy world.

    Args:
        seed: of everything.
        choice: of a group.
        settings: of the policy.
        equal: all groups teach as much as one that is not useful.

    Returns:
        Its end.
    """
    random = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    best = int(random.integers(GROUPS)) if not equal else 0
    use_G = np.full(GROUPS, OTHERS)
    if not equal:
        use_G[best] = USEFUL
    threshold_V, group_V = random.random(ITEMS), np.arange(ITEMS) % GROUPS
    chooser, competence = Chooser(GROUPS, choice, settings, seed), 0.0
    chooser.end(*_check(competence, threshold_V, group_V, random))
    for phase in range(PHASES):
        chooser.begin(phase / PHASES, generator)
        weight_G = chooser.weight_G.double().numpy()
        mix_G = np.full(GROUPS, 1 / GROUPS)
        if weight_G.any():
            drawn_G = weight_G
            if settings.credit == "clip" and chooser.action is None and choice == "policy":
                chosen = int(CHOSEN * STEPS * BATCH)
                counts_G = random.multinomial(chosen, weight_G / weight_G.sum())
                chooser.count(torch.from_numpy(counts_G))
                drawn_G = counts_G / chosen
            mix_G = (1 - CHOSEN) * mix_G + CHOSEN * drawn_G
        competence = 1 - (1 - competence) * (1 - RATE * float(mix_G @ use_G)) ** STEPS
        chooser.end(*_check(competence, threshold_V, group_V, random))
    return ToyRun(float(chooser.probabilities().detach()[best]), 1 - competence)


def _check(
    competence: float, threshold_V: np.ndarray, group_V: np.ndarray, random: np.random.Generator
) -> tuple[float, list[float]]:
    """Error over the fixed items, all and by group, with some answers flipped."""
    wrong_V = (threshold_V < 1 - competence) ^ (random.random(ITEMS) < FLIPPED)
    return float(wrong_V.mean()), [float(wrong_V[group_V == group].mean()) for group in range(GROUPS)]
