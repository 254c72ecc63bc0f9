"""The arms of the study by name, each with the small sizes of the simulation."""

from collections.abc import Callable

from simulation.generator import CLASSES, Simulation
from simulation.network import FEATURE_DIMS

from epicsub.adaptation import MMIR, AdaptationMethod, Adversarial
from epicsub.adaptation.mmir_plus import MMIRPlus
from epicsub.adaptation.removal import Oracle, RuleRemoval, min_delta, random_removal

DISCRIMINATOR_HIDDEN, Q_HIDDEN = 32, (64,)
CONTROL = "adversarial"  # what every difference is to


def _oracle(data: Simulation, lam: float) -> AdaptationMethod:
    known = {"source": data.source.planted, "target": data.target.planted}
    outliers = [f"{domain}_{row}" for domain, mask in known.items() for row in mask.nonzero().flatten().tolist()]
    return RuleRemoval(FEATURE_DIMS, Oracle(outliers), lam, DISCRIMINATOR_HIDDEN)


ARMS: dict[str, Callable[[Simulation, float], AdaptationMethod | None]] = {
    "source_only": lambda data, lam: None,
    "supervised": lambda data, lam: None,
    "adversarial": lambda data, lam: Adversarial(FEATURE_DIMS, lam, DISCRIMINATOR_HIDDEN),
    "random": lambda data, lam: RuleRemoval(FEATURE_DIMS, random_removal, lam, DISCRIMINATOR_HIDDEN),
    "min_delta": lambda data, lam: RuleRemoval(FEATURE_DIMS, min_delta, lam, DISCRIMINATOR_HIDDEN),
    "oracle": _oracle,
    "mmir": lambda data, lam: MMIR(FEATURE_DIMS, lam, DISCRIMINATOR_HIDDEN, q_hidden=Q_HIDDEN),
    "mmir_plus": lambda data, lam: MMIRPlus(FEATURE_DIMS, lam, DISCRIMINATOR_HIDDEN, classes=CLASSES),
}
