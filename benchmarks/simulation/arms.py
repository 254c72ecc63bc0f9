"""The arms of the study by name, each with the small sizes of the simulation.

Not here: AdaBN, since the network has no batch norm, and MCD, since it has one classifier. MMD's kernels are those that
scale with the distances in a batch: MM-SADA's fixed widths are for features of 1,024 dimensions. MM-SADA's
correspondence is in stage 2 alone, since stage 1 sees no target here.
"""

from collections.abc import Callable
from typing import Any

from epicsub.adaptation import MMD, MMIR, MMSADA, AdaptationMethod, Adversarial, Contrastive, RewardSettings
from epicsub.adaptation.mmir_plus import MMIRPlus
from epicsub.adaptation.removal import Oracle, RuleRemoval, min_delta, random_removal
from simulation.generator import CLASSES, Simulation
from simulation.network import FEATURE_DIMS

DISCRIMINATOR_HIDDEN, Q_HIDDEN = 32, (64,)
CONTROL = "adversarial"  # what every difference is to


def _oracle(data: Simulation, lam: float) -> AdaptationMethod:
    known = {"source": data.source.planted, "target": data.target.planted}
    outliers = [f"{domain}_{row}" for domain, mask in known.items() for row in mask.nonzero().flatten().tolist()]
    return RuleRemoval(FEATURE_DIMS, Oracle(outliers), lam, DISCRIMINATOR_HIDDEN)


def _ours(lam: float, **rewards: Any) -> AdaptationMethod:
    """MMIR with rewards of ours."""
    settings = RewardSettings(**rewards)
    return MMIR(FEATURE_DIMS, lam, DISCRIMINATOR_HIDDEN, q_hidden=Q_HIDDEN, rewards=settings, classes=CLASSES)


ARMS: dict[str, Callable[[Simulation, float], AdaptationMethod | None]] = {
    "source_only": lambda data, lam: None,
    "supervised": lambda data, lam: None,
    "adversarial": lambda data, lam: Adversarial(FEATURE_DIMS, lam, DISCRIMINATOR_HIDDEN),
    "random": lambda data, lam: RuleRemoval(FEATURE_DIMS, random_removal, lam, DISCRIMINATOR_HIDDEN),
    "min_delta": lambda data, lam: RuleRemoval(FEATURE_DIMS, min_delta, lam, DISCRIMINATOR_HIDDEN),
    "oracle": _oracle,
    "mmir": lambda data, lam: MMIR(FEATURE_DIMS, lam, DISCRIMINATOR_HIDDEN, q_hidden=Q_HIDDEN),
    "mmir_plus": lambda data, lam: MMIRPlus(FEATURE_DIMS, lam, DISCRIMINATOR_HIDDEN, classes=CLASSES),
    "mmir_quantile": lambda data, lam: _ours(lam, quantile=0.2),
    "mmir_continuous": lambda data, lam: _ours(lam, continuous=True),
    "mmir_averaged": lambda data, lam: _ours(lam, judge="averaged"),
    "mmir_unreversed": lambda data, lam: _ours(lam, judge="unreversed"),
    "mmir_entropy": lambda data, lam: _ours(lam, relevance="entropy", quantile=0.2),
    "mmir_task": lambda data, lam: _ours(lam, relevance="task", quantile=0.2, continuous=True),
    "mmir_flushed": lambda data, lam: MMIR(
        FEATURE_DIMS, lam, DISCRIMINATOR_HIDDEN, q_hidden=Q_HIDDEN, flush_replay=True, replay_batch=32
    ),
    "mmir_weaker": lambda data, lam: MMIR(FEATURE_DIMS, lam / 4, DISCRIMINATOR_HIDDEN, q_hidden=Q_HIDDEN),
    "mmd": lambda data, lam: MMD(FEATURE_DIMS, "dan"),
    "mm_sada": lambda data, lam: MMSADA(
        FEATURE_DIMS, lam_max=lam, discriminator_hidden=DISCRIMINATOR_HIDDEN, correspondence_hidden=DISCRIMINATOR_HIDDEN
    ),
    "contrastive": lambda data, lam: Contrastive(FEATURE_DIMS, hidden=64, dim=32),
}
