"""What an adaptation method takes and what it returns.

Shapes: B clips of a batch (Bs of the source, Bt of the target), D features.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from epicsub.errors import AdaptationError
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe.base import AdaptationSection


@dataclass(frozen=True, kw_only=True)
class AdaptationBatch:
    """One step as a method sees it: the model's output for both domains, and where training stands."""

    source: TwoHeadOutput
    """Of the labelled clips, with the graph to the backbone: verb and noun logits, features (Bs, D) per modality."""
    target: TwoHeadOutput
    """Of the clips without labels, (Bt, D) per modality, with the graph."""
    verb_B: Tensor  # noqa: N815
    """Labels of the source clips, (Bs,) int64. The target has none."""
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
    """The model of both outputs, for methods that have a part in it, such as a second classifier."""
    source_ids: Sequence[str] = ()
    """Narration ids of the source clips. No method learns from them: an oracle on synthetic data does."""
    target_ids: Sequence[str] = ()
    """As `source_ids`."""
    weak: Callable[[nn.Module], TwoHeadOutput] | None = None
    """Runs a module on the target clips as they were read, of all processes, for methods with a `strong_view`."""


class AdaptationLosses(NamedTuple):
    """Losses of one step. The caller adds `alignment` to the classification loss, and steps each agent on its own."""

    alignment: Tensor
    """Scalar; reaches the backbone, often through a gradient reversal, and the method's own modules."""
    agent_losses: Mapping[str, Tensor] | None
    """Scalar of each agent, by its name, that reaches it alone; None while there is nothing to learn from."""
    logs: dict[str, float | Tensor]
    """Figures of this step; shares in percent. Tensors are scalars: the logger reads them."""
    removed: dict[str, Tensor]
    """Positions in the batch that each agent removed, sorted, by the agent's name, e.g. `rgb_source`."""
    classified_B: Tensor | None = None  # noqa: N815
    """(Bs,) bool: source clips that enter the classification loss; None for all."""

    @property
    def agents(self) -> Tensor | None:
        """Sum of the agents' losses; None where there are none."""
        return torch.stack(list(self.agent_losses.values())).sum() if self.agent_losses else None


class LaterUpdate(NamedTuple):
    """One more update of the same step, after the main one: the model sees the same clips again."""

    parameters: Sequence[nn.Parameter]
    """What it steps; everything else is frozen."""
    loss: Callable[[AdaptationBatch], Tensor]
    """Scalar, weighted as the alignment loss is."""
    classifies: bool
    """True adds the classification loss."""


class AdaptationMethod(nn.Module):
    """The base of every method: what a method need not write. Everything needed to resume is in its `state_dict()`.

    A subclass is `NAME(feature_dims, settings)` and writes `_losses`.

    Args:
        feature_dims: D of each modality; none for methods that read no features.
        settings: the recipe's section.

    Raises:
        AdaptationError: one modality only, for a method that works between modalities.
    """

    settings: AdaptationSection

    target_batch_after_training = 0
    """Target clips that `after_training` wants in a batch; 0 if it needs none."""

    def __init__(self, feature_dims: Mapping[str, int], settings: AdaptationSection) -> None:
        super().__init__()
        if settings.pairs_modalities and len(feature_dims) < 2:
            raise AdaptationError(f"{settings.method} needs two modalities or more; there is {', '.join(feature_dims)}")
        self.feature_dims: dict[str, int] = dict(feature_dims)
        self.settings = settings

    @classmethod
    def for_model(cls, model: nn.Module, settings: AdaptationSection) -> "AdaptationMethod":
        """The method for a model.

        Args:
            model: with `feature_dims`.
            settings: the recipe's section.

        Returns:
            The method, with random weights.

        Raises:
            AdaptationError: the method does not fit the model.
        """
        return cls(model.feature_dims, settings)  # type: ignore[arg-type]

    def count_labels(self, verb_S: Tensor, noun_S: Tensor) -> None:
        """Called once before a run's first step or where it is resumed, for methods that want the source's shares.

        Args:
            verb_S: class of each source segment, int64.
            noun_S: as `verb_S`; negative where the lists have verbs alone.
        """

    def strong_view(self, clips: Mapping[str, Tensor], generator: torch.Generator) -> Mapping[str, Tensor]:
        """Change the target clips that the model is trained on.

        Args:
            clips: of the target, as they were read.
            generator: a CPU generator.

        Returns:
            What the model sees; here the clips themselves.
        """
        return clips

    def losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Losses of one step.

        Args:
            batch: of the step.

        Returns:
            What to minimise, and what to log.

        Raises:
            AdaptationError: the batch does not fit the method.
        """
        if self.feature_dims:
            check_features(batch.source.features, batch.target.features, self.feature_dims)
        return self._losses(batch)

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Losses of a step whose features fit."""
        raise NotImplementedError

    def alignment_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that the model's optimiser steps with the backbone.

        Returns:
            All of the method's.
        """
        return self.parameters()

    def parameters_by_agent(self) -> dict[str, list[nn.Parameter]]:
        """Parameters that have optimisers of their own, one for each agent.

        Returns:
            By the agent's name; none here.
        """
        return {}

    def agent_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that have optimisers of their own.

        Returns:
            Of all agents.
        """
        return [parameter for parameters in self.parameters_by_agent().values() for parameter in parameters]

    def after_step(self, step: int) -> None:
        """Called after the optimisers' step.

        Args:
            step: as `losses` had it.
        """

    def later_updates(self, model: nn.Module) -> Sequence[LaterUpdate]:
        """Updates that follow the main one in every step that adapts.

        Args:
            model: in training.

        Returns:
            Updates in order.
        """
        return ()

    def after_training(self, model: nn.Module, clips: Iterable[Mapping[str, Tensor]]) -> None:
        """Called once, after the last step and before its checkpoint.

        Args:
            model: trained.
            clips: every target clip once, without labels, in an order drawn by the seed and in batches of
                `target_batch_after_training`, as equal as can be.
        """


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision becomes single precision, in which losses are computed.

    Args:
        x: floating point.

    Returns:
        The tensor itself, or a float32 copy.
    """
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def kept_mask(removed: Tensor, count: int) -> Tensor:
    """Mask of the instances that are not removed.

    Args:
        removed: positions.
        count: B.

    Returns:
        (B,) bool.
    """
    mask_B = torch.ones(count, dtype=torch.bool, device=removed.device)
    mask_B[removed] = False
    return mask_B


def kept_positions(removed: Tensor, count: int) -> Tensor:
    """Positions of the instances that are not removed; how many is known without asking the device.

    Args:
        removed: positions, each once.
        count: B.

    Returns:
        (B - R,) int64, rising.
    """
    gone_B = torch.zeros(count, dtype=torch.int64, device=removed.device).index_fill(0, removed, 1)
    return gone_B.argsort(stable=True)[: count - len(removed)]


def check_features(source: Mapping[str, Tensor], target: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
    """Refuse features that do not fit the method, all problems at once.

    Args:
        source: (Bs, D) per modality.
        target: (Bt, D) per modality.
        dims: D of each modality.

    Raises:
        AdaptationError: a modality is missing or unknown, or features are not (B, D) with the method's D.
    """
    problems = []
    for domain, features in (("source", source), ("target", target)):
        if set(features) != set(dims):
            problems.append(
                f"{domain} features are of {sorted(features)}, the method was made for {sorted(dims)}: give it these"
            )
        problems += [
            f"{domain} {modality} features are {tuple(f_BD.shape)}, expected (B, {dims[modality]})"
            for modality, f_BD in features.items()
            if modality in dims and (f_BD.ndim != 2 or f_BD.shape[1] != dims[modality])
        ]
    if problems:
        raise AdaptationError("\n".join(problems))
