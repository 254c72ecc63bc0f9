"""A step's clips through the model part by part, while the loss sees all of them (GradCache, arXiv 2101.06983).

Each part goes forward twice: without a graph, for the outputs that the loss is computed on; and, once the loss has
given the gradient of these outputs, with a graph that takes it down to the weights. So a step keeps the activations of
one part at a time, and its gradient is that of all clips at once: dropout draws the same masks both times. Only batch
norm sees a part at a time, and counts it in its running statistics once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import get_device_states, set_device_states

from epicsub.data.batch import ClipBatch
from epicsub.models.heads import TwoHeadOutput
from epicsub.training.gather import gather_output
from epicsub.training.layers import QuietBatchNorms, batch_norms
from epicsub.training.state import State

_RandomState = tuple[Tensor, tuple[list[int], list[Tensor]]]
"""Of the CPU's generator, and of the devices'."""


class _Part(NamedTuple):
    clips: dict[str, Tensor]
    random: _RandomState
    """Before its first forward pass."""
    rows: slice
    """Its rows in the whole batch."""
    outputs: list[Any]
    """Flattened output of the whole batch, leaves that collect the gradient; None for what is no tensor."""


class Passes:
    """Forward and backward passes of one update, over whole batches or in parts.

    Args:
        fabric: with the device.
        state: with the model.
        parts: of each batch; 1 is the plain way.
    """

    def __init__(self, fabric: Fabric, state: State, parts: int) -> None:
        self.fabric, self.state, self.parts = fabric, state, parts
        self._parts: list[_Part] = []

    def forward(self, batch: ClipBatch, total: int) -> TwoHeadOutput:
        """Run the model on a batch.

        Args:
            batch: this process's clips on the device; `parts` divides their number.
            total: clips of all processes.

        Returns:
            The model's output on the clips of all processes.
        """
        if self.parts == 1:
            return gather_output(self.fabric, cast(TwoHeadOutput, self.state.model(batch.clips)), total)
        size = len(batch.narration_ids) // self.parts
        cuts = [slice(start, start + size) for start in range(0, size * self.parts, size)]
        clips = [batch.rows(cut).clips for cut in cuts]
        random: list[_RandomState] = []
        flat: list[list[Any]] = []
        for piece in clips:
            random.append((torch.get_rng_state(), get_device_states(*piece.values())))
            with torch.no_grad():
                values, structure = tree_flatten(self.state.model(piece))
            flat.append(values)
        whole = [torch.cat(v).requires_grad_() if isinstance(v[0], Tensor) else None for v in zip(*flat, strict=True)]
        self._parts += [_Part(*of, whole) for of in zip(clips, random, cuts, strict=True)]
        return gather_output(self.fabric, cast(TwoHeadOutput, tree_unflatten(whole, structure)), total)

    def backward(self, loss: Tensor) -> None:
        """Bring the gradient of a loss on `forward`'s outputs to the weights.

        Args:
            loss: scalar.
        """
        with self.fabric.no_backward_sync(self.state.model, enabled=self.parts > 1):
            self.fabric.backward(loss)
        for number, part in enumerate(self._parts, 1):
            with (
                _random_state_of(part),
                QuietBatchNorms(list(batch_norms(self.state.model))),
                self.fabric.no_backward_sync(self.state.model, enabled=number < len(self._parts)),
            ):
                outputs = tree_flatten(self.state.model(part.clips))[0]
                every = self.fabric.world_size > 1  # DDP waits for each parameter, also of heads that no loss reads
                products = [
                    (output * leaf.grad[part.rows]).sum() if leaf.grad is not None else 0.0 * output.sum()
                    for output, leaf in zip(outputs, part.outputs, strict=True)
                    if leaf is not None and (every or leaf.grad is not None)
                ]
                self.fabric.backward(torch.stack(products).sum())
        self._parts.clear()


@contextmanager
def _random_state_of(part: _Part) -> Iterator[None]:
    """Within, random numbers are those of the part's first pass."""
    cpu, (devices, states) = part.random
    with torch.random.fork_rng(devices):
        torch.set_rng_state(cpu)
        set_device_states(devices, states)
        yield
