"""A model of 97 verbs and 300 nouns on lists that have less: fewer verbs, no nouns.

Shapes: B clips, V verbs, N nouns.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.models.two_classifiers import HEADS

NEVER = -1e4
"""Logit of a verb that there is not: its probability is exactly 0, also in half precision and beside other streams."""


def classes_told_apart(logits_BC: Tensor) -> Tensor:
    """How many classes a head decides between, a tensor of no dimension: all of them, those that `limit_classes` left
    it, or 1 for a head that says nothing."""
    possible = (logits_BC > NEVER / 2).any(0).sum()
    return torch.where(logits_BC.any(), possible, torch.ones_like(possible))


def limit_classes(model: nn.Module, verbs: Sequence[int] | None, nouns: bool) -> None:
    """Let every verb head of a model tell `verbs` alone apart, and its noun heads nothing unless `nouns`.

    The parameters keep their names and shapes. Cross-entropy over the 97 is then that of a head with these verbs alone,
    for every loss and every classifier of the model, and the other columns get no gradient. A noun head without nouns
    gives 0 throughout, so that every noun is as likely, and is not trained.

    Raises:
        ModelError: the model has no heads of the names in `HEADS`.
    """
    found = {kind: [m for name, m in model.named_modules() if name.split(".")[-1] == kind] for kind in HEADS}
    if missing := [kind for kind, heads in found.items() if not heads]:
        raise ModelError(f"recipe key classes needs a model with {' and '.join(HEADS)}; this one lacks {missing[0]}")
    if verbs is not None:
        for head in found["verb_head"]:
            head.register_forward_hook(_only(verbs))
    if not nouns:
        for head in found["noun_head"]:
            head.requires_grad_(False)
            head.register_forward_hook(_nothing)


def _only(verbs: Sequence[int]) -> Callable[[nn.Module, object, Tensor], Tensor]:
    kept = sorted(verbs)

    def limited(head: nn.Module, _: object, logits_BV: Tensor) -> Tensor:
        absent_V = torch.ones(logits_BV.shape[-1], dtype=torch.bool, device=logits_BV.device)
        absent_V[kept] = False
        return logits_BV.masked_fill(absent_V, NEVER)

    return limited


def _nothing(head: nn.Module, _: object, logits_BN: Tensor) -> Tensor:
    return torch.zeros_like(logits_BN)
