"""A teacher's soft labels: from a checkpoint that sees the same clips, or from kept predictions (arXiv 1503.02531).

Shapes: B clips, V verbs, N nouns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from epicsub.data.annotations import Segment
from epicsub.data.batch import LabelledClipBatch, Labels
from epicsub.errors import EpicsubError, TrainingError
from epicsub.io import user_path
from epicsub.models.heads import PAIRS_NAME
from epicsub.predictions import Predictions, read_predictions
from epicsub.recipe import Recipe, recipe_from_dict
from epicsub.training.build import model_of
from epicsub.training.checkpoint import load_checkpoint

CLIP_KEYS = ("features", "frames", "sampling", "stride", "short_side", "size")


@dataclass(frozen=True)
class Teacher:
    """A checkpoint, or predictions of the training list, that give soft labels."""

    path: Path
    modalities: tuple[str, ...]
    """What the checkpoint reads; none for predictions."""
    model: nn.Module | None = None
    """In evaluation mode, without gradients."""
    verb_SV: Tensor | None = None  # noqa: N815
    """Log-probabilities of S training segments."""
    noun_SN: Tensor | None = None  # noqa: N815
    rows: Mapping[str, int] | None = None
    """Row of each narration id."""
    initial: Mapping[str, Any] = field(default_factory=dict)
    """What the checkpoint's initial weights were pre-trained on."""

    def to(self, device: torch.device) -> None:
        """Move the checkpoint's model; of predictions, rows are moved as they are needed.

        Args:
            device: where to.
        """
        if self.model is not None:
            self.model.to(device)

    @torch.no_grad()
    def add_soft_labels(self, source: LabelledClipBatch) -> LabelledClipBatch:
        """Add the teacher's logits to the labels of a batch.

        A checkpoint predicts mixed clips as they are, so both labels of a clip get the same logits; kept predictions
        give each label its own.

        Args:
            source: labelled clips, mixed or not.

        Returns:
            The batch with `teacher_verb_BV` and `teacher_noun_BN` in its labels.
        """
        if self.model is not None:
            output = self.model(source.clips)
            own = output.verb_logits_BV.float(), output.noun_logits_BN.float()
            partner = own
        else:
            assert self.rows is not None
            assert self.verb_SV is not None
            assert self.noun_SN is not None
            rows_B = torch.tensor([self.rows[name] for name in source.narration_ids])
            device = source.labels.verb_B.device
            own = self.verb_SV[rows_B].to(device), self.noun_SN[rows_B].to(device)
            partner = own[0].roll(1, 0), own[1].roll(1, 0)
        return replace(
            source,
            labels=_with_soft(source.labels, *own),
            partner=source.partner and _with_soft(source.partner, *partner),
        )


def _with_soft(labels: Labels, verb_BV: Tensor, noun_BN: Tensor) -> Labels:
    return replace(labels, teacher_verb_BV=verb_BV, teacher_noun_BN=noun_BN)


def load_teacher(recipe: Recipe, source: Sequence[Segment]) -> Teacher | None:
    """Load the recipe's teacher, and check it against the student's clips and segments.

    Args:
        recipe: with `train.distillation`.
        source: labelled segments.

    Returns:
        The teacher, or None where the recipe has none.

    Raises:
        TrainingError: no such file, clips cut in another way, or segments without a prediction.
    """
    if recipe.train.distillation is None:
        return None
    path = user_path(recipe.train.distillation.teacher)
    if path.suffix.lower() != ".pth":
        try:
            return cached_teacher(path, read_predictions(path), source)
        except EpicsubError as error:
            raise TrainingError(f"train.distillation.teacher: {error}") from error
    checkpoint = load_checkpoint(path, for_resuming=False)
    teacher = recipe_from_dict(checkpoint.recipe, str(path))
    other = [
        f"{key}: {getattr(teacher.data, key)} in the teacher, {getattr(recipe.data, key)} here"
        for key in CLIP_KEYS
        if getattr(teacher.data, key) != getattr(recipe.data, key)
    ]
    if other:
        raise TrainingError(
            f"train.distillation.teacher: {path} learned from clips cut in another way, and sees the student's here "
            f"({'; '.join(other)}). Make its predictions of the training list, with `epicsub predict` and a protocol "
            "that names the list, and give that file"
        )
    model = model_of(teacher, weights=False, actions=checkpoint.model.get(PAIRS_NAME))
    model.load_state_dict(checkpoint.model)
    model.eval().requires_grad_(False)
    return Teacher(path, tuple(teacher.data.modalities), model, initial=checkpoint.initial)


def cached_teacher(path: Path, predictions: Predictions, source: Sequence[Segment]) -> Teacher:
    """Make a teacher of predictions, joined on narration id.

    Args:
        path: where they were read.
        predictions: of the training list.
        source: labelled segments.

    Returns:
        The teacher.

    Raises:
        PredictionsError: training segments without a prediction; the first ten are named.
    """
    ids = [segment.narration_id for segment in source]
    chosen = predictions.select(ids)
    return Teacher(
        path,
        (),
        verb_SV=torch.from_numpy(chosen.verb_logprobs),
        noun_SN=torch.from_numpy(chosen.noun_logprobs),
        rows={name: row for row, name in enumerate(ids)},
    )


def with_teacher_modalities(recipe: Recipe, teacher: Teacher | None) -> Recipe:
    """Add the modalities that a teacher reads beside the student's, for the training clips.

    Args:
        recipe: the student's.
        teacher: or None.

    Returns:
        The recipe by which training clips are read.
    """
    more = [name for name in teacher.modalities if name not in recipe.data.modalities] if teacher else []
    if not more:
        return recipe
    data = recipe.data.model_copy(update={"modalities": (*recipe.data.modalities, *more)})
    return recipe.model_copy(update={"data": data})
