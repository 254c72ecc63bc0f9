"""Adaptation methods: features of both domains in, losses and decisions out. No loop, no loader, no optimiser.

A new method is one file with a subclass of `AdaptationMethod`, one line in training/build.py and one recipe.
"""

from epicsub.adaptation.adversarial import Adversarial
from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod, LaterUpdate
from epicsub.adaptation.mmir import MMIR

__all__ = ["MMIR", "AdaptationBatch", "AdaptationLosses", "AdaptationMethod", "Adversarial", "LaterUpdate"]
