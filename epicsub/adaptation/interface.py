"""What an adaptation method takes and what it hands back.

Shapes: B clips of a batch (Bs of the source, Bt of the target), D features.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from epicsub.errors import AdaptationError
from epicsub.models.heads import TwoHeadOutput


@dataclass(frozen=True, kw_only=True)
class AdaptationBatch:
    """One step as a method sees it: what the model made of both domains, and where training stands."""

    source: TwoHeadOutput
    """Of the labelled clips, with the graph to the backbone: verb and noun logits, features (Bs, D) a modality."""
    target: TwoHeadOutput
    """Of the clips without labels, (Bt, D) a modality, with the graph."""
    verb_B: Tensor  # noqa: N815
    """Labels of the source clips, (Bs,) int64. The target has none to give."""
    noun_B: Tensor  # noqa: N815
    """As `verb_B`."""
    progress: float
    """Share of the stage's steps done, 0 to 1."""
    stage: int
    """Index of the stage, from 0."""
    step: int
    """Of the run, from 0."""
    generator: torch.Generator
    """A CPU generator; all random numbers of a method come from it."""
    model: nn.Module | None = None
    """The model that made both outputs, for methods that have a part in it, such as a second classifier."""
    source_ids: Sequence[str] = ()
    """Narration ids of the source clips. No method learns from them: an oracle on made-up data does."""
    target_ids: Sequence[str] = ()
    """As `source_ids`."""


class AdaptationLosses(NamedTuple):
    """Losses of one step. The caller adds `alignment` to the classification loss and steps the agents on `agents`."""

    alignment: Tensor
    """Scalar; reaches the backbone, often through a gradient reversal, and the method's own modules."""
    agents: Tensor | None
    """Scalar that reaches the agents alone; None while there is nothing for them to learn from."""
    logs: dict[str, float | Tensor]
    """Figures of this step; shares in percent. Tensors have no dimension: reading them is left to whoever logs."""
    removed: dict[str, Tensor]
    """Positions in the batch that each agent took out, sorted, by the agent's name, e.g. `rgb_source`."""
    classified_B: Tensor | None = None  # noqa: N815
    """(Bs,) bool: source clips that enter the classification loss; None for all."""


class LaterUpdate(NamedTuple):
    """One more update of the same step, after the main one: the model sees the same clips again."""

    parameters: Sequence[nn.Parameter]
    """What it moves; everything else keeps still."""
    loss: Callable[[AdaptationBatch], Tensor]
    """Scalar, weighted as the alignment loss is."""
    classifies: bool
    """Whether the classification loss is added."""


class AdaptationMethod(nn.Module, ABC):
    """The base of every method: what a method need not write. Everything needed to resume is in its `state_dict()`."""

    reads_target_after_training = False
    """Whether `after_training` wants the target clips."""

    @abstractmethod
    def losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Losses of one step.

        Raises:
            AdaptationError: the batch does not fit the method.
        """

    def alignment_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that the model's optimiser steps with the backbone."""
        return ()

    def agent_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that have an optimiser of their own."""
        return ()

    def after_step(self, step: int) -> None:
        """Called after the optimisers' step, with the number that `losses` had."""

    def later_updates(self, model: nn.Module) -> Sequence[LaterUpdate]:
        """Updates that follow the main one in every step that adapts, in order."""
        return ()

    def after_training(self, model: nn.Module, clips: Iterable[Mapping[str, Tensor]]) -> None:
        """Called once, after the last step and before its checkpoint.

        Args:
            model: trained.
            clips: every target clip once, in batches as the model takes them, without labels.
        """


def at_least_float32(x: Tensor) -> Tensor:
    """Losses of half-precision features are computed in single precision."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


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
