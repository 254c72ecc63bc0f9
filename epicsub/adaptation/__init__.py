"""Adaptation methods: features of both domains in, losses and decisions out. No loop, no loader, no optimiser.

A new method is one file with a subclass of `AdaptationMethod`, one line in training/build.py and one recipe.
"""

from epicsub.adaptation.adabn import AdaBN
from epicsub.adaptation.adversarial import Adversarial
from epicsub.adaptation.contrastive import Contrastive
from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod, LaterUpdate
from epicsub.adaptation.mcd import MCD
from epicsub.adaptation.mm_sada import MMSADA
from epicsub.adaptation.mmd import MMD
from epicsub.adaptation.mmir import MMIR
from epicsub.adaptation.mmir_plus import MMIRPlus
from epicsub.adaptation.removal import Oracle, RuleRemoval, min_delta, random_removal
from epicsub.adaptation.rewards import RewardSettings
from epicsub.adaptation.ta3n import TA3N

__all__ = [
    "MCD",
    "MMD",
    "MMIR",
    "MMSADA",
    "TA3N",
    "AdaBN",
    "AdaptationBatch",
    "AdaptationLosses",
    "AdaptationMethod",
    "Adversarial",
    "Contrastive",
    "LaterUpdate",
    "MMIRPlus",
    "Oracle",
    "RewardSettings",
    "RuleRemoval",
    "min_delta",
    "random_removal",
]
