"""Losses and gradients that are not finite: found on the device, without the host waiting for it in every step.

A step whose loss or gradient is not finite changes no weight and no state of an optimiser, and nor does any after it:
the device decides. The host reads what the device found every `log_every` steps and before it evaluates or saves, and
stops the run with that step and its narration ids. Batch norms' running statistics, which a forward pass changes, are
put back to those before that step.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from epicsub.errors import NotFiniteError
from epicsub.training.layers import batch_norms

NAMES = ("the loss", "the gradient's norm")
LAST_FINITE = "last_finite.pth"


class FiniteWatch:
    """What the device has found so far, of one process."""

    def __init__(self) -> None:
        self.failed: Tensor | None = None
        """Bool scalar on the device: a step was not finite."""
        self._found: Tensor | None = None
        """(3,) float64 on the device: number of that step within `_seen`, of its name, its value."""
        self._seen: list[tuple[int, dict[str, str]]] = []
        """Step and narration ids since the last reading."""
        self.failed_step = 0
        """Of the run, from 1; 0 while all are finite."""
        self._statistics: Tensor | None = None
        """Running statistics of batch norms before the step, or before the first that was not finite."""

    def begin(self, model: nn.Module, parts: Mapping[str, Sequence[str]], step: int) -> None:
        """Remember what a step begins with; a second update of the step begins with the same.

        Args:
            model: whose batch norms the step changes.
            parts: narration ids of the step's clips, by the name of their part of the batch.
            step: of the run, from 1.
        """
        if self._seen and self._seen[-1][0] == step:
            return
        ids = {domain: ", ".join(names) for domain, names in parts.items()}
        self._seen.append((step, ids))
        if buffers := _running(model):
            now = torch.cat([buffer.flatten() for buffer in buffers])
            before = self._statistics
            self._statistics = now if before is None or self.failed is None else torch.where(self.failed, before, now)

    def note(self, values: Sequence[Tensor]) -> Tensor:
        """Look at the values of an update.

        Args:
            values: the loss, and the norm of the gradient, scalars on the device.

        Returns:
            Bool scalar on the device: this update must not be made.
        """
        seen = torch.stack([value.detach().double() for value in values])
        bad = ~seen.isfinite()
        if self.failed is None or self._found is None:
            self.failed = torch.zeros((), dtype=torch.bool, device=seen.device)
            self._found = torch.zeros(3, dtype=torch.float64, device=seen.device)
        which = bad.int().argmax(dim=0, keepdim=True)  # the first that is not finite
        place = torch.full_like(seen[:1], len(self._seen) - 1)
        found = torch.cat([place, which.double(), seen.gather(0, which)])
        self._found = torch.where(self.failed, self._found, found)
        self.failed = self.failed | bad.any()
        return self.failed

    def read(self, model: nn.Module) -> None:
        """Wait for the device, and stop if it has found something; batch norms are then as before that step.

        Args:
            model: of `begin`.

        Raises:
            NotFiniteError: a step was not finite; the message names it, what was not finite, and its narration ids.
        """
        if self.failed is None or self._found is None or not self.failed:
            self._seen.clear()
            return
        place, which, value = self._found.tolist()
        step, ids = self._seen[int(place)]
        self.failed_step = step
        self._restore(model)
        raise NotFiniteError(
            f"step {step}: {NAMES[int(which)]} is {value}; stopped before the update, the last checkpoint is whole.\n"
            + "\n".join(f"  {domain} batch: {listed}" for domain, listed in ids.items())
            + "\nTry a lower train.stages.N.learning_rate, train.clip_grad, or precision 32-true"
        )

    @torch.no_grad()
    def _restore(self, model: nn.Module) -> None:
        buffers = _running(model)
        if self._statistics is None:
            return
        parts = self._statistics.split([buffer.numel() for buffer in buffers])  # type: ignore[no-untyped-call]  # torch's
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))


def _running(model: nn.Module) -> list[Tensor]:
    """Running means and variances of all batch norms that have them."""
    return [
        buffer
        for layer in batch_norms(model)
        for buffer in (layer.running_mean, layer.running_var)
        if isinstance(buffer, Tensor)
    ]
