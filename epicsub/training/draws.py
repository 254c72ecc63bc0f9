"""Which clips each step takes, of all processes and of one."""

from collections.abc import Sequence

from epicsub.data.annotations import Segment
from epicsub.data.domains import SOURCE
from epicsub.data.samplers import StepSampler, balanced_weights
from epicsub.recipe import Recipe


def sampler_of(
    recipe: Recipe,
    source: Sequence[Segment],
    target: Sequence[Sequence[Segment]],
    stage: int,
    first_step: int = 0,
    rank: int = 0,
    ranks: int = 1,
) -> StepSampler:
    """Say which clips each step of a stage takes.

    Args:
        recipe: with the batches.
        source: labelled segments.
        target: unlabelled segments, of each list.
        stage: index, from 0.
        first_step: within the stage, from 0.
        rank: of this process.
        ranks: number of processes.

    Returns:
        The sampler.
    """
    settings = recipe.train.stages[stage]
    return StepSampler(
        source_size=len(source),
        target_sizes=[len(segments) for segments in target] if settings.target_batch else [],
        source_batch=settings.source_batch,
        target_batch=settings.target_batch,
        seed=recipe.seed * 1000 + stage,
        first_step=first_step,
        last_step=settings.length,
        rank=rank,
        ranks=ranks,
        source_weights=_source_weights(recipe, source),
        repeats=recipe.train.sampling.repeats,
    )


def drawn_ids(
    source: Sequence[Segment], target: Sequence[Sequence[Segment]], sampler: StepSampler, step: int
) -> dict[str, list[str]]:
    """Name the clips that all processes together take in a step.

    Args:
        source: labelled segments.
        target: unlabelled segments, of each list.
        sampler: of `sampler_of`.
        step: of the stage, from 0.

    Returns:
        Narration ids by domain, "source", and "target" where the step adapts.
    """
    ids: dict[str, list[str]] = {"source": []}
    for draw in sampler.draws(step):
        lists = [source] if draw.domain == SOURCE else target
        name = "source" if draw.domain == SOURCE else "target"
        ids.setdefault(name, []).append(lists[draw.list_index][draw.segment_index].narration_id)
    return ids


def _source_weights(recipe: Recipe, source: Sequence[Segment]) -> list[float] | None:
    """How often each labelled segment is drawn; None where all come equally often."""
    sampling = recipe.train.sampling
    if sampling.balance == "none":
        return None
    classes: dict[str | None, list[tuple[int | None, ...]]] = {
        "verb": [(segment.verb_class,) for segment in source],
        "noun": [(segment.noun_class,) for segment in source],
        "action": [(segment.verb_class, segment.noun_class) for segment in source],
    }
    return balanced_weights(classes[sampling.by], sampling.balance)
