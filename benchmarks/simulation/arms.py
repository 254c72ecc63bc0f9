"""The arms of the study by name, each with the small sizes of the simulation.

Weights of the losses are 1, but for MM-SADA's classification, which is 0.2 beside alignment as in its recipe (TA3N's
0.5 of verbs and of nouns is 1 here, where there is one task). MMD's kernels are those that scale with the distances
in a batch: MM-SADA's fixed widths are for features of 1,024 dimensions. MM-SADA's correspondence is in stage 2 alone,
since stage 1 sees no target here. MCD, AdaBN and TA3N have networks of their own (network.py); `norm_source_only` and
`relations_source_only` are the networks without the method. MCD and TA3N keep their own strengths of the reversal;
that of all others is the setting's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from epicsub.adaptation import (
    MCD,
    MMD,
    MMIR,
    MMSADA,
    TA3N,
    AdaBN,
    AdaptationMethod,
    Adversarial,
    Contrastive,
    RewardSettings,
)
from epicsub.adaptation.mmir_plus import MMIRPlus
from epicsub.adaptation.removal import Oracle, RuleRemoval, min_delta, random_removal
from simulation.generator import CLASSES, Simulation
from simulation.network import FEATURE_DIMS, FRAME_DIMS, TwoStream, normalised, pair, relations

DISCRIMINATOR_HIDDEN, Q_HIDDEN = 32, (64,)
CONTROL = "adversarial"  # what every difference is to


@dataclass(frozen=True)
class Case:
    """What a method is made for."""

    data: Simulation
    lam: float
    net: nn.Module


@dataclass(frozen=True)
class Arm:
    """What is trained, and how."""

    method: Callable[[Case], AdaptationMethod | None]
    """None for source only."""
    net: Callable[[], nn.Module] = TwoStream
    frames: bool = False
    """Whether it reads the frames of instances, or their mean."""
    class_weight: float = 1.0
    """Of the classification loss beside alignment, as in the method's recipe."""


def _removal(case: Case, rule: Any) -> AdaptationMethod:
    return RuleRemoval(FEATURE_DIMS, rule, case.lam, DISCRIMINATOR_HIDDEN)


def _oracle(case: Case) -> AdaptationMethod:
    known = {"source": case.data.source.planted, "target": case.data.target.planted}
    outliers = [f"{domain}_{row}" for domain, mask in known.items() for row in mask.nonzero().flatten().tolist()]
    return _removal(case, Oracle(outliers))


def _mmir(case: Case, lam_share: float = 1.0, **settings: Any) -> AdaptationMethod:
    return MMIR(FEATURE_DIMS, case.lam * lam_share, DISCRIMINATOR_HIDDEN, q_hidden=Q_HIDDEN, **settings)


def _ours(case: Case, **rewards: Any) -> AdaptationMethod:
    """MMIR with rewards of ours."""
    return _mmir(case, rewards=RewardSettings(**rewards), classes=CLASSES)


def _mm_sada(case: Case) -> AdaptationMethod:
    hidden = {"discriminator_hidden": DISCRIMINATOR_HIDDEN, "correspondence_hidden": DISCRIMINATOR_HIDDEN}
    return MMSADA(FEATURE_DIMS, lam_max=case.lam, **hidden)


ARMS = {
    "source_only": Arm(lambda case: None),
    "supervised": Arm(lambda case: None),
    "mmd": Arm(lambda case: MMD(FEATURE_DIMS, "dan")),
    "norm_source_only": Arm(lambda case: None, normalised),
    "adabn": Arm(lambda case: AdaBN(case.net), normalised),
    "mcd": Arm(lambda case: MCD(FEATURE_DIMS), pair),
    "adversarial": Arm(lambda case: Adversarial(FEATURE_DIMS, case.lam, DISCRIMINATOR_HIDDEN)),
    "mm_sada": Arm(_mm_sada, class_weight=0.2),
    "contrastive": Arm(lambda case: Contrastive(FEATURE_DIMS, hidden=64, dim=32)),
    "relations_source_only": Arm(lambda case: None, lambda: relations(attention=False), frames=True),
    "ta3n": Arm(lambda case: TA3N(FEATURE_DIMS, FRAME_DIMS), relations, frames=True),
    "random": Arm(lambda case: _removal(case, random_removal)),
    "min_delta": Arm(lambda case: _removal(case, min_delta)),
    "oracle": Arm(_oracle),
    "mmir": Arm(_mmir),
    "mmir_plus": Arm(lambda case: MMIRPlus(FEATURE_DIMS, case.lam, DISCRIMINATOR_HIDDEN, classes=CLASSES)),
    "mmir_quantile": Arm(lambda case: _ours(case, quantile=0.2)),
    "mmir_continuous": Arm(lambda case: _ours(case, continuous=True)),
    "mmir_averaged": Arm(lambda case: _ours(case, judge="averaged")),
    "mmir_unreversed": Arm(lambda case: _ours(case, judge="unreversed")),
    "mmir_entropy": Arm(lambda case: _ours(case, relevance="entropy", quantile=0.2)),
    "mmir_task": Arm(lambda case: _ours(case, relevance="task", quantile=0.2, continuous=True)),
    "mmir_flushed": Arm(lambda case: _mmir(case, flush_replay=True, replay_batch=32)),
    "mmir_weaker": Arm(lambda case: _mmir(case, lam_share=0.25)),
}
