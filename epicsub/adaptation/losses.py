"""What an adaptation method hands to the training loop, and what it takes. Shapes: B instances, D features."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from epicsub.errors import AdaptationError


class AdaptationLosses(NamedTuple):
    """Losses of one step. The caller adds `alignment` to the classification loss and steps the agents on `agents`."""

    alignment: Tensor
    """Scalar; reaches the backbone through the gradient reversal, and the discriminators."""
    agents: Tensor | None
    """Scalar that reaches the agents alone; None while there is nothing for them to learn from."""
    logs: dict[str, float | Tensor]
    """Figures of this step; shares in percent. Tensors have no dimension: reading them is left to whoever logs."""
    removed: dict[str, Tensor]
    """Positions in the batch that each agent took out, sorted, by the agent's name, e.g. `rgb_source`."""


def check_features(source: Mapping[str, Tensor], target: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
    """Refuse features that do not fit the method, all problems at once.

    Raises:
        AdaptationError: a modality is missing or unknown, or features are not (B, D) with the method's D.
    """
    problems = []
    for domain, features in (("source", source), ("target", target)):
        if set(features) != set(dims):
            problems.append(f"{domain} features are of {sorted(features)}, the method was made for {sorted(dims)}")
        problems += [
            f"{domain} {modality} features are {tuple(f_BD.shape)}, expected (B, {dims[modality]})"
            for modality, f_BD in features.items()
            if modality in dims and (f_BD.ndim != 2 or f_BD.shape[1] != dims[modality])
        ]
    if problems:
        raise AdaptationError("\n".join(problems))
