"""Adaptation methods: features of both domains in, losses and decisions out. No loop, no loader, no optimiser.

A new method is one file with the four functions that `Adversarial` and `MMIR` share: `losses`, `after_step`,
`alignment_parameters`, `agent_parameters`. Everything needed to resume is in its `state_dict()`.
"""

from epicsub.adaptation.adversarial import Adversarial
from epicsub.adaptation.losses import AdaptationLosses
from epicsub.adaptation.mmir import MMIR

__all__ = ["MMIR", "AdaptationLosses", "Adversarial"]
