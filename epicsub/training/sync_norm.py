"""Batch norms whose statistics are those of all processes' clips, on CPUs as on GPUs.

torch's `SyncBatchNorm` computes on GPUs alone; on a CPU the same is done here over gloo.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from epicsub.training.layers import batch_norms

SMALL_SHARE = 16
"""Labelled clips of a process and step below which statistics of its share alone are rough (1803.08494, figure 1)."""


class SynchronisedBatchNorm(_BatchNorm):
    """torch's `SyncBatchNorm`, on a CPU. In evaluation a plain batch norm."""

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        """Normalise by the mean and variance over the clips of all processes.

        Args:
            input: (B, C, ...).

        Returns:
            As the input.
        """
        if not self.training:
            return super().forward(input)
        mean_C, variance_C, count = _statistics(input)
        if self.running_mean is not None and self.running_var is not None:
            share = self.momentum
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
                share = 1.0 / float(self.num_batches_tracked) if share is None else share
            assert share is not None
            self.running_mean.lerp_(mean_C, share)
            self.running_var.lerp_(variance_C * (count / (count - 1)), share)
        inverse_C = (variance_C + self.eps).rsqrt()
        return cast(Tensor, _Normalise.apply(input, self.weight, self.bias, mean_C, inverse_C, count))

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected (B, C, ...), got {tuple(input.shape)}")


def synchronise_batch_norms(model: nn.Module) -> int:
    """Let every batch norm take its statistics over all processes.

    Args:
        model: on its device; is changed, but for the names of parameters and buffers.

    Returns:
        Number of layers.
    """
    norms = {id(norm): _converted(norm) for norm in batch_norms(model)}
    for module in list(model.modules()):
        for name, child in module.named_children():
            if id(child) in norms:
                setattr(module, name, norms[id(child)])
    return len(norms)


def _converted(norm: _BatchNorm) -> _BatchNorm:
    """The layer with the same parameters and buffers, not copies of them."""
    on_gpu = norm.running_mean is not None and norm.running_mean.is_cuda
    kind: type[_BatchNorm] = nn.SyncBatchNorm if on_gpu else SynchronisedBatchNorm
    with torch.device("meta"):
        synchronised = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, parameter in norm.named_parameters(recurse=False):
        setattr(synchronised, name, parameter)
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(synchronised, name, buffer)
    return synchronised.train(norm.training)


def _channels_last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).flatten(0, -2)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and biased variance by channel, float32, and the number of values, over all processes."""
    values_NC = _channels_last(x.detach()).float()
    mean_C = values_NC.mean(0)
    squares_C = (values_NC - mean_C).square().sum(0)
    own = torch.stack([mean_C, squares_C, torch.full_like(mean_C, len(values_NC))])
    parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, own)
    mean_PC, squares_PC, count_PC = torch.stack(parts, dim=1)
    count_C = count_PC.sum(0)
    whole_C = (mean_PC * count_PC).sum(0) / count_C
    squares_C = (squares_PC + count_PC * (mean_PC - whole_C).square()).sum(0)
    return whole_C, squares_C / count_C, float(count_C[0])


class _Normalise(torch.autograd.Function):
    """(x - mean) * inverse * weight + bias, with mean and inverse of all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean_C: Tensor, inverse_C: Tensor, count: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean_C, inverse_C)
        ctx.count, ctx.biased = count, bias is not None
        shape = (1, -1, *[1] * (x.ndim - 2))
        scale_C = inverse_C if weight is None else inverse_C * weight
        shift_C = -mean_C * scale_C if bias is None else bias - mean_C * scale_C
        return (x * scale_C.view(shape) + shift_C.view(shape)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean_C, inverse_C = ctx.saved_tensors
        shape = (1, -1, *[1] * (x.ndim - 2))
        normal = (x - mean_C.view(shape)) * inverse_C.view(shape)
        sums_2C = torch.stack(
            [_channels_last(gradient).float().sum(0), _channels_last(gradient * normal).float().sum(0)]
        )
        own_2C = sums_2C.clone()
        torch.distributed.all_reduce(sums_2C)
        mean_C, product_C = sums_2C / ctx.count
        scale_C = inverse_C if weight is None else inverse_C * weight
        moved = (gradient - mean_C.view(shape) - normal * product_C.view(shape)) * scale_C.view(shape)
        own_bias, own_weight = own_2C
        weighted, biased = own_weight if weight is not None else None, own_bias if ctx.biased else None
        return moved.to(x.dtype), weighted, biased, None, None, None
