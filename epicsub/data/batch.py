"""Training batches: labelled clips of the source domain, clips without labels of the target domain.

Shape legend: B clips, C channels (rgb 3, flow 2), T frames, H, W pixels, D entries of a feature, V verbs, N nouns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from epicsub.data.domains import SOURCE
from epicsub.slots import BOXES


@dataclass(frozen=True)
class _Tensors:
    """Base of the dataclasses below: changes every tensor, selects clips."""

    def to(self, device: torch.device) -> Self:
        """Move every tensor to a device.

        Args:
            device: where to.

        Returns:
            A batch on the device; Fabric's `to_device` calls this.
        """
        return self._map(lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"))

    def pin_memory(self) -> Self:
        """Copy every tensor to page-locked memory, from which a GPU reads faster; a DataLoader calls this.

        Returns:
            The same batch in page-locked memory.
        """
        return self._map(Tensor.pin_memory)

    def rows(self, chosen: slice | Sequence[int]) -> Self:
        """Take some of the clips, with all that belongs to them.

        Args:
            chosen: positions in the batch. A slice gives views of the tensors, positions give copies.

        Returns:
            A batch of these clips.
        """
        return self._map(lambda tensor: tensor[chosen], chosen)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Change every tensor.

        Args:
            change: of a tensor.

        Returns:
            A batch of the changed tensors.
        """
        return self._map(change)

    def _map(self, change: Callable[[Tensor], Tensor], chosen: slice | Sequence[int] | None = None) -> Self:
        values = {field.name: _changed(getattr(self, field.name), change, chosen) for field in fields(self)}
        return type(self)(**values)


def _changed(value: Any, change: Callable[[Tensor], Tensor], chosen: slice | Sequence[int] | None) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, _Tensors):
        return value._map(change, chosen)
    if isinstance(value, dict):
        return {name: _changed(tensor, change, None) for name, tensor in value.items()}
    if isinstance(value, list) and chosen is not None:
        return value[chosen] if isinstance(chosen, slice) else [value[row] for row in chosen]
    return value


@dataclass(frozen=True, kw_only=True)
class Labels(_Tensors):
    """Labels of B clips, and what a teacher says of them."""

    verb_B: Tensor  # noqa: N815
    """(B,) int64."""
    noun_B: Tensor  # noqa: N815
    """(B,) int64, `domains.NO_LABEL` where the lists have verbs alone."""
    teacher_verb_BV: Tensor | None = None  # noqa: N815
    """(B, V) logits of the teacher in distillation; None without one."""
    teacher_noun_BN: Tensor | None = None  # noqa: N815
    """(B, N)."""
    window_verb_BW: Tensor | None = None  # noqa: N815
    """(B, W) labels of a window's segments, `domains.NO_LABEL` where there is none; None without windows."""
    window_noun_BW: Tensor | None = None  # noqa: N815
    """As `window_verb_BW`."""


@dataclass(frozen=True, kw_only=True)
class ClipBatch(_Tensors):
    """Clips of one domain, or the features that stand for them."""

    narration_ids: list[str]
    """B of them."""
    clips: dict[str, Tensor]
    """By modality, (B, C, T, H, W) uint8 in channels_last_3d memory; features (B, D) or (B, T, D); `slots.BOXES`."""
    photometric_B4: Tensor | None = None  # noqa: N815
    """(B, 4) draws of the photometric augmentation that is left to the device; None where it is done."""


@dataclass(frozen=True, kw_only=True)
class LabelledClipBatch(ClipBatch):
    """Clips of the source domain."""

    labels: Labels
    partner: Labels | None = None
    """Labels of the clip that each clip is mixed with; None where clips are not mixed."""
    share_B: Tensor | None = None  # noqa: N815
    """(B,) share of the own label in a mixed clip, 0 to 1."""


@dataclass(frozen=True)
class Batch(_Tensors):
    """One training step's clips, or one process's share of them."""

    source: LabelledClipBatch
    target: ClipBatch | None = None
    """None in a step that does not adapt."""
    whole_ids: dict[str, list[str]] | None = None
    """Narration ids of the clips of all processes, by domain; None where this is the whole batch."""

    def ids(self) -> dict[str, list[str]]:
        """Name the clips of all processes.

        Returns:
            Narration ids by domain, "source", and "target" where there is one.
        """
        if self.whole_ids is not None:
            return self.whole_ids
        return {domain: part.narration_ids for domain, part in self.by_domain().items()}

    def by_domain(self) -> dict[str, ClipBatch]:
        """Name the batches by their domain.

        Returns:
            "source", and "target" where there is one.
        """
        return {"source": self.source} | ({} if self.target is None else {"target": self.target})


@dataclass(frozen=True, kw_only=True)
class TrainClip:
    """One training clip, before it is collated into a batch."""

    domain: int
    """`domains.SOURCE` or `domains.TARGET`."""
    narration_id: str
    clips: dict[str, Tensor]
    """By modality, (C, T, S, S); `slots.BOXES`."""
    verb: int | None = None
    """None for clips of the target domain, which have no labels."""
    noun: int | None = None
    photometric_4: Tensor | None = None
    """(4,) draw of the photometric augmentation that is left to the device."""


def collate(items: Sequence[TrainClip]) -> Batch:
    """Collate items of `TrainClips`, whatever their order, by domain.

    Args:
        items: clips of the source domain and, in steps that adapt, of the target domain.

    Returns:
        A batch of clips (B, C, T, S, S) in channels_last_3d memory.
    """
    source = [item for item in items if item.domain == SOURCE]
    target = [item for item in items if item.domain != SOURCE]
    labels = Labels(
        verb_B=torch.tensor([item.verb for item in source]), noun_B=torch.tensor([item.noun for item in source])
    )
    return Batch(
        LabelledClipBatch(labels=labels, **_collate_domain(source)),
        ClipBatch(**_collate_domain(target)) if target else None,
    )


def collate_unlabelled(items: Sequence[TrainClip]) -> ClipBatch:
    """Collate items of `TrainClips` without labels, in their order.

    Args:
        items: clips of the target domain.

    Returns:
        A batch of clips (B, C, T, S, S) in channels_last_3d memory.
    """
    return ClipBatch(**_collate_domain(items))


def _collate_domain(items: Sequence[TrainClip]) -> dict[str, Any]:
    """Fields of a `ClipBatch`."""
    drawn = [item.photometric_4 for item in items if item.photometric_4 is not None]
    return {
        "narration_ids": [item.narration_id for item in items],
        "clips": _stack_clips([item.clips for item in items]),
        "photometric_B4": torch.stack(drawn) if drawn else None,
    }


def collate_views(
    items: Sequence[tuple[str, dict[str, Tensor]]],
) -> tuple[list[str], dict[str, Tensor]]:
    """Collate items of `ViewClips`.

    Args:
        items: narration id and clips of segments.

    Returns:
        Narration ids, {modality: (B, V, C, T, S, S)}.
    """
    return [identity for identity, _ in items], _stack_clips([clips for _, clips in items])


def _stack_clips(clips: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Stack (..., C, T, S, S) clips of a batch without taking them out of channels-last memory; slots as they are."""
    return {
        name: torch.stack([clip[name] for clip in clips])
        if name == BOXES
        else torch.stack([clip[name].movedim(-4, -1) for clip in clips]).movedim(-1, -4)
        for name in clips[0]
    }
