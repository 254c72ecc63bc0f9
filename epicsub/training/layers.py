"""Parts of a model: learning rates of their own, freezing, and layers that are computed twice.

A layer is found in the names of the parameters: after a stream's name and `CARRIERS`, up to the first number
(`backbone.layer1.0`, `network.blocks.3`), or else one word (`trunk.Mixed_3b`). Layers come in the order in which the
model holds them; those before the first numbered block (a stem, embeddings) are as deep as one. What follows the
backbone (temporal part, heads) counts as the last layer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from epicsub.errors import TrainingError
from epicsub.models.i3d import I3D, InceptionModule
from epicsub.text import counted

CARRIERS = ("trunk", "backbone", "network", "timesformer", "videomae")
LAST = ("temporal", "verb_head", "noun_head", "action_head", "second", "head", "heads", "fusion", "relation_head")
MARK = "frozen_by_recipe"
"""Attribute of a parameter that `freeze` froze, by which it knows what to wake up."""


class Part(NamedTuple):
    """A part of a model by the common beginning of its parameters' names."""

    name: str
    rate: float
    """Factor of the learning rate."""
    frozen_steps: int | None
    """Steps from the run's start in which it stands still; None for all."""


def layer_of(name: str) -> str:
    """Find the layer that a parameter or a module is of.

    Args:
        name: of the parameter or module.

    Returns:
        The layer's name, with its stream; "last" for what follows the backbone.
    """
    words = name.split(".")
    place = 1 if words[0] == "first" else 0  # inside `TwoClassifiers`
    place += 2 if words[place : place + 1] == ["streams"] else 0
    while place < len(words) - 1 and words[place] in CARRIERS:
        place += 1
    if place >= len(words) or words[place] in LAST:
        return "last"
    numbers = [number for number, word in enumerate(words) if number >= place and word.isdigit()]
    return ".".join(words[: (numbers[0] if numbers else place) + 1])


def layer_depths(model: nn.Module) -> dict[str, int]:
    """Number the layers from the input.

    Args:
        model: whose parameters are named.

    Returns:
        Number by `layer_of`; streams are counted side by side, "last" is the highest.
    """
    streams: dict[str, list[str]] = {}
    for layer in dict.fromkeys(layer_of(name) for name, _ in model.named_parameters()):
        if layer != "last":
            words = layer.split(".")
            streams.setdefault(words[words.index("streams") + 1] if "streams" in words else "", []).append(layer)
    modules = dict(model.named_modules())
    depths: dict[str, int] = {}
    for layers in streams.values():
        stem = next((place for place, layer in enumerate(layers) if _is_block(layer, modules)), 1)
        depths |= {layer: max(place - max(stem - 1, 0), 0) for place, layer in enumerate(layers)}
    return depths | {"last": max(depths.values(), default=-1) + 1}


def _is_block(layer: str, modules: Mapping[str, nn.Module]) -> bool:
    """True if a layer is one of a numbered row, and no single convolution or norm of a stem that is numbered too."""
    return layer.rpartition(".")[2].isdigit() and layer in modules and any(True for _ in modules[layer].children())


def _part_of(name: str, parts: Sequence[Part]) -> Part | None:
    """The part that a parameter belongs to: of several, the longest name."""
    fitting = [part for part in parts if name == part.name or name.startswith(f"{part.name}.")]
    return max(fitting, key=lambda part: len(part.name), default=None)


def parameter_groups(model: nn.Module, parts: Sequence[Part], layer_decay: float) -> list[dict[str, Any]]:
    """Group parameters by their factor of the learning rate: the part's, times layer_decay for each layer above.

    Args:
        model: the model.
        parts: with factors of their own.
        layer_decay: 1 for none.

    Returns:
        Optimiser groups {"params", "rate_factor"}.

    Raises:
        TrainingError: parts that the model does not have, all at once, or that leave nothing to train.
    """
    refuse_unfit(model, parts)
    depths = layer_depths(model)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        part = _part_of(name, parts)
        above = depths["last"] - depths[layer_of(name)]
        factor = (part.rate if part else 1.0) * layer_decay**above
        groups.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "rate_factor": factor} for factor, parameters in groups.items()]


def refuse_unfit(model: nn.Module, parts: Sequence[Part]) -> None:
    """Check that parts are of the model, and that they do not freeze all there is.

    Args:
        model: the model.
        parts: of the recipe.

    Raises:
        TrainingError: naming those that do not fit, and what there is.
    """
    names = [name for name, _ in model.named_parameters()]
    unknown = [part.name for part in parts if not any(_part_of(name, [part]) for name in names)]
    if unknown:
        there = list(dict.fromkeys(".".join(name.split(".")[:depth]) for depth in (1, 2, 3) for name in names))
        there = [name for name in there if name not in names]
        raise TrainingError(
            f"train.parts: the model has no {', '.join(unknown)}; it has {', '.join(there[:30])}"
            + (", ..." if len(there) > 30 else "")
        )
    left = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if parts and all(_frozen(name, parts, 0) for name in left):  # with time parts only wake up
        holding = [part for part in parts if part.frozen_steps != 0]
        steps = min((part.frozen_steps for part in holding if part.frozen_steps is not None), default=None)
        raise TrainingError(
            f"train.parts: {', '.join(part.name for part in holding)} freeze the whole model "
            + (f"in the first {counted(steps, 'step', 'steps')}" if steps else "for the whole run")
            + ": nothing is left to train. Leave one of them out, or name smaller parts"
        )


def freeze(model: nn.Module, parts: Sequence[Part], step: int) -> None:
    """Freeze and unfreeze parts as they are at a step of the run.

    Frozen parameters get no gradient, and the running statistics of frozen batch norms stand still. Call it after
    `model.train()`, which wakes those up. What the model itself keeps from training stays so.

    Args:
        model: the model.
        parts: of the recipe.
        step: from 0.
    """
    if not any(part.frozen_steps != 0 for part in parts):
        return
    for name, parameter in model.named_parameters():
        if _frozen(name, parts, step):
            if parameter.requires_grad:
                parameter.requires_grad_(False)
                setattr(parameter, MARK, True)
        elif getattr(parameter, MARK, False):
            parameter.requires_grad_(True)
            delattr(parameter, MARK)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and _frozen(name, parts, step):
            module.eval()


def _frozen(name: str, parts: Sequence[Part], step: int) -> bool:
    part = _part_of(name, parts)
    return part is not None and (part.frozen_steps is None or step < part.frozen_steps)


def checkpoint_layers(model: nn.Module) -> int:
    """Let every layer before the last forget its activations and compute them again for the gradient.

    The numbers are those of plain training, to the bit: dropout draws the same masks (torch keeps the random state),
    and batch norms take part in the running statistics the first time only.

    Args:
        model: is changed.

    Returns:
        Number of layers.
    """
    layers = set(layer_depths(model)) - {"last"}
    layers -= {layer for layer in layers if any(other.startswith(f"{layer}.") for other in layers)}
    found = 0
    for name, module in model.named_modules():
        if name in layers and any(True for _ in module.parameters()):
            _checkpoint_module(module)
            found += 1
    return found


def checkpoint_pools(model: nn.Module) -> int:
    """Let the pooling of I3D forget its activations, as `checkpoint_layers` does of whole layers.

    A max pool keeps eight bytes per output to know where its maximum was: with what the branch after it keeps, 178 of
    two-stream I3D's 605 MiB per clip of 16 x 224 x 224 at 32 bits.

    Args:
        model: is changed.

    Returns:
        Number of pools; 0 for models other than I3D.
    """
    found = 0
    for module in model.modules():
        if isinstance(module, InceptionModule):
            module.pool_branch = _checkpointed(module.pool_branch, module.b3b)  # type: ignore[method-assign]
            found += 1
        elif isinstance(module, I3D):
            for pool in module.pools.values():
                pool.forward = _checkpointed(pool.forward, pool)  # type: ignore[method-assign]
                found += 1
    return found


def _checkpoint_module(module: nn.Module) -> None:
    module.forward = _checkpointed(module.forward, module)


def _checkpointed(plain: Callable[..., Any], module: nn.Module) -> Callable[..., Any]:
    """A method of a module that computes again for the gradient, in training."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]

    def forward(*inputs: Any, **more: Any) -> Any:
        if not module.training or not torch.is_grad_enabled():
            return plain(*inputs, **more)
        return checkpoint(plain, *inputs, use_reentrant=False, context_fn=contexts, **more)

    def contexts() -> tuple[QuietBatchNorms, QuietBatchNorms]:
        return QuietBatchNorms([]), QuietBatchNorms(norms)

    return forward


class QuietBatchNorms:
    """While open, batch norms' running statistics stand still: with momentum 0 they are multiplied by one.

    Args:
        norms: batch norms; those without running statistics are left alone.
    """

    def __init__(self, norms: Sequence[_BatchNorm]) -> None:
        self.norms = [norm for norm in norms if norm.track_running_stats]
        self.before: list[tuple[float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        for norm in self.norms:
            seen = norm.num_batches_tracked
            self.before.append((norm.momentum, None if seen is None else seen.clone()))
            norm.momentum = 0.0

    def __exit__(self, *raised: object) -> None:
        for norm, (momentum, seen) in zip(self.norms, self.before, strict=True):
            norm.momentum = momentum
            if seen is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(seen)
        self.before.clear()


def batch_norms(model: nn.Module) -> Iterator[_BatchNorm]:
    """Iterate over the batch norms, which see a part of a step at a time where its gradient is accumulated.

    Args:
        model: the model.

    Returns:
        The modules.
    """
    return (module for module in model.modules() if isinstance(module, _BatchNorm))
