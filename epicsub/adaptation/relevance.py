"""Relevance of an instance and the agents' reward (MMIR, arXiv 2311.14281, Eqs 3 and 4). Shapes: B instances."""

import torch
from torch import Tensor


def relevance(p_target_B: Tensor, domain: str) -> Tensor:
    """Delta of Eq 3: how much an instance looks like one of the other domain. (B,)"""
    return p_target_B if domain == "source" else 1.0 - p_target_B


def reward_of(delta: Tensor, tau: float | Tensor) -> Tensor:
    """Eq 4: +1 for taking out an instance of low relevance (Delta < tau), -1 otherwise."""
    return torch.where(delta < tau, 1.0, -1.0)
