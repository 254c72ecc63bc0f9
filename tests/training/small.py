"""Small batches and losses for the tests of this package."""

import torch
from torch import Tensor

from epicsub.data.batch import LabelledClipBatch, Labels
from epicsub.training.losses import Criterion, HeadLoss


def labelled(
    clips: dict[str, Tensor], verb_B: Tensor, noun_B: Tensor, name: str = "P01_01", **more
) -> LabelledClipBatch:
    """A source batch; narration ids are numbered."""
    ids = [f"{name}_{row}" for row in range(len(verb_B))]
    return LabelledClipBatch(narration_ids=ids, clips=clips, labels=Labels(verb_B=verb_B, noun_B=noun_B), **more)


def drawn_batch(
    shapes: dict[str, tuple[int, ...]], size: int, seed: int = 0, name: str = "P01_01"
) -> LabelledClipBatch:
    """Random clips of these shapes, uint8 where they are pictures, and random labels."""
    generator = torch.Generator().manual_seed(seed)
    clips = {
        modality: torch.randint(256, (size, *shape), generator=generator, dtype=torch.uint8)
        if len(shape) > 1
        else torch.randn(size, *shape, generator=generator)
        for modality, shape in shapes.items()
    }
    verb_B, noun_B = (torch.randint(classes, (size,), generator=generator) for classes in (97, 300))
    return labelled(clips, verb_B, noun_B, name)


def criterion(**more) -> Criterion:
    """Cross-entropy of both heads."""
    heads = {"verb": HeadLoss(torch.ones(97)), "noun": HeadLoss(torch.ones(300))}
    return Criterion(heads, {"verb": 1.0, "noun": 1.0}, **more)
