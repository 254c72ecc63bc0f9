"""A step's whole batch in every process: each computes the outputs of its share, and all of them the losses of all.

So a method of adaptation sees the recipe's batch however many processes share it: the same candidate sets, negatives,
kernels and partners, and one replay. Each process takes the gradient of its own rows alone, times the number of
processes, since DistributedDataParallel divides the sum of their gradients by it. What follows the gathered features,
discriminators or a second look at the heads, has the whole gradient in each process.

Process r of N computes rows r, r + N, r + 2 N, ... of the batch (`data.samplers`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils._pytree import tree_map

from epicsub.data.batch import LabelledClipBatch

T = TypeVar("T")


def gather_output(fabric: Fabric, own: T, total: int) -> T:
    """Collect the outputs of all processes, with their gradients.

    Args:
        fabric: with the processes.
        own: a structure of tensors whose rows are those of this process.
        total: rows of all processes.

    Returns:
        The structure with all rows, in the batch's order.
    """
    if fabric.world_size == 1:
        return own
    return cast(T, tree_map(lambda x: _rows(fabric, x, total) if isinstance(x, Tensor) else x, own))


def gather_labels(fabric: Fabric, own: LabelledClipBatch, ids: Sequence[str]) -> LabelledClipBatch:
    """Collect what a loss reads of the labelled clips of all processes.

    Args:
        fabric: with the processes.
        own: this process's share.
        ids: narration ids of the whole batch.

    Returns:
        The whole batch without its clips; with one process, its own.
    """
    if fabric.world_size == 1:
        return own
    light = replace(own, clips={}, photometric_B4=None)
    return replace(light.changed(lambda x: _rows(fabric, x, len(ids))), narration_ids=list(ids))


def _rows(fabric: Fabric, own: Tensor, total: int) -> Tensor:
    return cast(Tensor, _Gather.apply(own, total, fabric.global_rank, fabric.world_size))


class _Gather(torch.autograd.Function):
    """Rows of all processes; back go this one's, times the number of processes."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, total: int, rank: int, world: int) -> Tensor:
        ctx.rank, ctx.world = rank, world
        most = -(-total // world)
        padded = own.new_zeros(most, *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(world)]
        torch.distributed.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[:total]  # shorter shares are those of the last processes

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return gradient[ctx.rank :: ctx.world] * ctx.world, None, None, None
