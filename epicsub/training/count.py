"""The work of a training step, counted without doing it.

The model without memory (torch's "meta" device) is handed clips that have a shape and no content. So a recipe for a
large device is checked on a small one, to its last layer.

Shapes: B clips.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from epicsub.data.annotations import Segment
from epicsub.recipe import Recipe, Stage
from epicsub.training.build import action_table, adaptation_of, model_of, parts_of
from epicsub.training.layers import checkpoint_pools, freeze, refuse_unfit

STEP_OVER_FORWARD = 3  # a backward pass is twice the forward pass: by the inputs, and by the weights
COUNTED = 2  # clips that are counted: the work is in proportion to them, and batch norm refuses a single one


@dataclass(frozen=True, kw_only=True)
class Work:
    """What clips, or a step of a stage, take on one device."""

    operations: float
    """Multiplications and additions of the model; heads of the adaptation and optimiser are left out."""
    kept: float
    """Bytes that the forward pass keeps for the backward pass, at 32 bits; fused attention keeps less."""
    whole: float
    """Those of them that hold whole numbers, such as the places of max pooling's largest values, 64 bits each: they
    are as many in every precision."""

    @property
    def kept_in_half(self) -> float:
        """`kept` where floating point has 16 bits."""
        return self.whole + (self.kept - self.whole) / 2


def weightless_model(recipe: Recipe, segments: Sequence[Segment]) -> nn.Module:
    """Build the recipe's model on the meta device, in training mode; its published weights are read and must fit it.

    Args:
        recipe: the resolved recipe.
        segments: labelled, for the table of actions.

    Returns:
        A model without memory.

    Raises:
        ModelError: weights are not found or do not fit; the network cannot take such clips.
        TrainingError: parts that the model does not have, or that leave nothing to train.
    """
    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*meta parameter in the current model, which is a no-op")
        model = model_of(recipe, weights=True, actions=action_table(recipe, segments))
    refuse_unfit(model, parts_of(recipe))
    freeze(model, parts_of(recipe), 0)
    if recipe.train.activation_checkpointing == "pools":
        checkpoint_pools(model)
    return model.train()


def clip_work(model: nn.Module, clips: Mapping[str, Tensor]) -> Work:
    """Count what a clip takes in a forward pass.

    Args:
        model: on the meta device.
        clips: (B, ...) of each modality; their shapes are taken.

    Returns:
        Operations, and bytes for the backward pass.

    Raises:
        ModelError: the network cannot take such clips.
        RuntimeError: as well, by torch.
    """
    storages: dict[int, torch.UntypedStorage] = {}
    whole: set[int] = set()

    def count(kept: Tensor) -> Tensor:
        """Note a tensor that autograd keeps: each memory once, and no weights."""
        if not (kept.is_leaf and kept.requires_grad):
            storage = kept.untyped_storage()
            storages[storage._cdata] = storage
            if not kept.is_floating_point():
                whole.add(storage._cdata)
        return kept

    empty = {
        name: torch.empty((COUNTED, *clip.shape[1:]), dtype=clip.dtype, device="meta") for name, clip in clips.items()
    }
    hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda kept: kept)
    with FlopCounterMode(display=False) as counter, hooks:
        model(empty)
    return Work(
        operations=counter.get_total_flops() / COUNTED,
        kept=sum(storage.nbytes() for storage in storages.values()) / COUNTED,
        whole=sum(storages[number].nbytes() for number in whole) / COUNTED,
    )


def work_of(recipe: Recipe, model: nn.Module, stage: Stage, clip: Work) -> Work:
    """Count a step of a stage, forward and backward.

    Args:
        recipe: as one device sees it.
        model: on the meta device.
        stage: of the recipe.
        clip: work of a clip.

    Returns:
        Operations of the step, and bytes for its backward pass.
    """
    updates = 1
    if stage.target_batch:
        method = adaptation_of(recipe, model)
        updates += len(method.later_updates(model)) if method else 0
    parts = recipe.train.accumulate
    twice = (recipe.train.activation_checkpointing is True) + (parts > 1 and stage.target_batch > 0)
    clips, at_once = stage.source_batch + stage.target_batch, stage.source_batch + stage.target_batch
    if parts > 1:
        at_once = max(stage.source_batch, stage.target_batch) // parts
    operations = updates * (STEP_OVER_FORWARD + twice) * clips * clip.operations  # twice forward, where it is said
    return Work(operations=operations, kept=at_once * clip.kept, whole=at_once * clip.whole)
