"""Batches of random features, as an adaptation method is given them."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor

from epicsub.adaptation import AdaptationBatch
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe.base import AdaptationSection

VERBS, NOUNS = 4, 3
S = TypeVar("S", bound=AdaptationSection)


def section(kind: type[S], **settings: Any) -> S:
    """A recipe's section with its defaults and these settings."""
    (method,) = get_args(kind.model_fields["method"].annotation)
    return kind(method=method, **settings)


def features(B: int, seed: int, dims: Mapping[str, int], shift: float = 0.0) -> dict[str, Tensor]:
    """(B, D) per modality, leaves of the graph."""
    generator = torch.Generator().manual_seed(seed)
    return {m: (torch.randn(B, d, generator=generator) + shift).requires_grad_() for m, d in dims.items()}


def output_of(f: dict[str, Tensor]) -> TwoHeadOutput:
    """An output with these features, and logits that are their first columns."""
    first = next(iter(f.values()))
    generator = torch.Generator().manual_seed(7)
    verb, noun = (torch.randn(first.shape[-1], n, generator=generator, dtype=first.dtype) for n in (VERBS, NOUNS))
    return TwoHeadOutput(first.detach() @ verb, first.detach() @ noun, f)


def batch_of(
    source: dict[str, Tensor],
    target: dict[str, Tensor],
    /,
    progress: float = 0.5,
    step: int = 0,
    generator: torch.Generator | None = None,
    **more: Any,
) -> AdaptationBatch:
    """A step with these features and labels drawn at random; `more` replaces any other part."""
    draw = torch.Generator().manual_seed(1000)
    B = len(next(iter(source.values())))
    given: dict[str, Any] = {
        "source": output_of(source),
        "target": output_of(target),
        "verb_B": torch.randint(VERBS, (B,), generator=draw),
        "noun_B": torch.randint(NOUNS, (B,), generator=draw),
        "progress": progress,
        "stage": 1,
        "step": step,
        "generator": generator or torch.Generator().manual_seed(0),
    }
    return AdaptationBatch(**(given | more))
