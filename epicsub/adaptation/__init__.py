"""Adaptation methods: features of both domains in, losses and decisions out. No loop, no loader, no optimiser.

A new method is a file with a subclass of `AdaptationMethod`, a section in recipe/adaptation.py and a row of `METHODS`.
"""

from epicsub.adaptation.adabn import AdaBN
from epicsub.adaptation.adversarial import Adversarial, RuleRemoval
from epicsub.adaptation.contrastive import Contrastive
from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod, LaterUpdate
from epicsub.adaptation.mcd import MCD
from epicsub.adaptation.mm_sada import MMSADA
from epicsub.adaptation.mmd import MMD
from epicsub.adaptation.mmir import MMIR
from epicsub.adaptation.mmir_plus import MMIRPlus
from epicsub.adaptation.rna import RNA
from epicsub.adaptation.self_training import SelfTraining
from epicsub.adaptation.ta3n import TA3N
from epicsub.recipe.adaptation import (
    AdaBNAdaptation,
    AdversarialAdaptation,
    BNOnlyAdaptation,
    ContrastiveAdaptation,
    MCDAdaptation,
    MinDeltaAdaptation,
    MMDAdaptation,
    MMIRAdaptation,
    MMIRPlusAdaptation,
    MMSADAAdaptation,
    OracleAdaptation,
    RandomRemovalAdaptation,
    TA3NAdaptation,
)
from epicsub.recipe.base import AdaptationSection
from epicsub.recipe.unlabelled import RNAAdaptation, SelfTrainingAdaptation

METHODS: dict[type[AdaptationSection], type[AdaptationMethod]] = {
    MMDAdaptation: MMD,
    AdaBNAdaptation: AdaBN,
    BNOnlyAdaptation: AdaBN,
    MCDAdaptation: MCD,
    AdversarialAdaptation: Adversarial,
    MMSADAAdaptation: MMSADA,
    ContrastiveAdaptation: Contrastive,
    TA3NAdaptation: TA3N,
    MMIRAdaptation: MMIR,
    MMIRPlusAdaptation: MMIRPlus,
    RandomRemovalAdaptation: RuleRemoval,
    MinDeltaAdaptation: RuleRemoval,
    OracleAdaptation: RuleRemoval,
    RNAAdaptation: RNA,
    SelfTrainingAdaptation: SelfTraining,
}
"""The method of a recipe's section. Sections without one adapt nothing."""

__all__ = [
    "MCD",
    "METHODS",
    "MMD",
    "MMIR",
    "MMSADA",
    "RNA",
    "TA3N",
    "AdaBN",
    "AdaptationBatch",
    "AdaptationLosses",
    "AdaptationMethod",
    "Adversarial",
    "Contrastive",
    "LaterUpdate",
    "MMIRPlus",
    "RuleRemoval",
    "SelfTraining",
]
