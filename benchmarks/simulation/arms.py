"""The arms of the study by name, each with the small sizes of the simulation.

Weights of the losses are 1, but for MM-SADA's classification, which is 0.2 beside alignment as in its recipe (TA3N's
0.5 of verbs and of nouns is 1 here, where there is one task). MMD's kernels are MM-SADA's, whose widths follow the
length of the features, as in the other benchmarks (the kept row is of kernels that follow the distances in a batch).
MM-SADA's correspondence is in stage 2 alone, since stage 1 sees no target here. MCD, AdaBN and TA3N have networks of
their own (network.py); `norm_source_only`, `norm_bn_only` and `relations_source_only` are the networks without the
method. MCD and TA3N keep their own strengths of the reversal; that of all others is the setting's.
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
    MMIRPlus,
    RuleRemoval,
)
from epicsub.recipe import adaptation as sections
from simulation.generator import CLASSES, Simulation
from simulation.network import FEATURE_DIMS, FRAME_DIMS, TwoStream, normalised, pair, relations
from simulation.rewards import OtherRewards

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


def _aligned(case: Case) -> dict[str, Any]:
    """Settings that all methods with a discriminator per modality share."""
    return {"lam_max": case.lam, "discriminator_hidden": DISCRIMINATOR_HIDDEN}


def _adversarial(case: Case) -> AdaptationMethod:
    return Adversarial(FEATURE_DIMS, sections.AdversarialAdaptation(method="adversarial", **_aligned(case)))


def _random(case: Case) -> AdaptationMethod:
    settings = sections.RandomRemovalAdaptation(method="random_removal", **_aligned(case))
    return RuleRemoval(FEATURE_DIMS, settings)


def _min_delta(case: Case) -> AdaptationMethod:
    return RuleRemoval(FEATURE_DIMS, sections.MinDeltaAdaptation(method="min_delta", **_aligned(case)))


def _oracle(case: Case) -> AdaptationMethod:
    known = {"source": case.data.source.planted, "target": case.data.target.planted}
    outliers = [f"{domain}_{row}" for domain, mask in known.items() for row in mask.nonzero().flatten().tolist()]
    settings = sections.OracleAdaptation(method="oracle", outliers="known", **_aligned(case))
    return RuleRemoval(FEATURE_DIMS, settings, outliers)


def _mmir(case: Case, **settings: Any) -> AdaptationMethod:
    section = sections.MMIRAdaptation(method="mmir", **(_aligned(case) | settings))
    return MMIR(FEATURE_DIMS, section, CLASSES, Q_HIDDEN)


def _task(case: Case) -> AdaptationMethod:
    """The reward that gained, which the package offers."""
    return _mmir(case, rewards=sections.RewardsSection(relevance="task", quantile=0.2, continuous=True))


def _other(case: Case, replay_batch: int = 64, **switches: Any) -> AdaptationMethod:
    section = sections.MMIRAdaptation(method="mmir", replay_batch=replay_batch, **_aligned(case))
    return OtherRewards(FEATURE_DIMS, section, q_hidden=Q_HIDDEN, **switches)


def _mmir_plus(case: Case) -> AdaptationMethod:
    section = sections.MMIRPlusAdaptation(method="mmir_plus", **_aligned(case))
    return MMIRPlus(FEATURE_DIMS, section, CLASSES)


def _mm_sada(case: Case) -> AdaptationMethod:
    section = sections.MMSADAAdaptation(method="mm_sada", correspondence_hidden=DISCRIMINATOR_HIDDEN, **_aligned(case))
    return MMSADA(FEATURE_DIMS, section)


def _contrastive(case: Case) -> AdaptationMethod:
    return Contrastive(FEATURE_DIMS, sections.ContrastiveAdaptation(method="contrastive", hidden=64, dim=32))


ARMS = {
    "source_only": Arm(lambda case: None),
    "supervised": Arm(lambda case: None),
    "mmd": Arm(lambda case: MMD(FEATURE_DIMS, sections.MMDAdaptation(method="mmd"))),
    "norm_source_only": Arm(lambda case: None, normalised),
    "norm_bn_only": Arm(lambda case: AdaBN(case.net, sections.BNOnlyAdaptation(method="bn_only")), normalised),
    "adabn": Arm(lambda case: AdaBN(case.net, sections.AdaBNAdaptation(method="adabn")), normalised),
    "mcd": Arm(lambda case: MCD(FEATURE_DIMS, sections.MCDAdaptation(method="mcd")), pair),
    "adversarial": Arm(_adversarial),
    "mm_sada": Arm(_mm_sada, class_weight=0.2),
    "contrastive": Arm(_contrastive),
    "relations_source_only": Arm(lambda case: None, lambda: relations(attention=False), frames=True),
    "ta3n": Arm(
        lambda case: TA3N(FEATURE_DIMS, FRAME_DIMS, sections.TA3NAdaptation(method="ta3n")), relations, frames=True
    ),
    "random": Arm(_random),
    "min_delta": Arm(_min_delta),
    "oracle": Arm(_oracle),
    "mmir": Arm(_mmir),
    "mmir_plus": Arm(_mmir_plus),
    "mmir_quantile": Arm(lambda case: _other(case, quantile=0.2)),
    "mmir_continuous": Arm(lambda case: _other(case, continuous=True)),
    "mmir_averaged": Arm(lambda case: _other(case, judge="averaged")),
    "mmir_unreversed": Arm(lambda case: _other(case, judge="unreversed")),
    "mmir_entropy": Arm(lambda case: _other(case, entropy=True, quantile=0.2)),
    "mmir_task": Arm(_task),
    "mmir_flushed": Arm(lambda case: _other(case, flush=True, replay_batch=32)),
    "mmir_weaker": Arm(lambda case: _mmir(case, lam_max=case.lam * 0.25)),
}
