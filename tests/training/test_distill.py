"""Soft labels from a teacher: joined on narration id, kept with their clips through mixing and parts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from epicsub.data.annotations import Segment
from epicsub.data.batch import Labels
from epicsub.errors import PredictionsError
from epicsub.models.heads import TwoHeadOutput
from epicsub.predictions import Predictions
from epicsub.training.distill import Teacher, cached_teacher

from .small import labelled

IDS = ["P01_01_0", "P01_01_1", "P02_03_7"]
ZEROS = torch.zeros(2, dtype=torch.int64)


def segment(name: str) -> Segment:
    return Segment(name, name[:3], name[:6], 0.0, 1.0, 0, 60, 1, 2)


@pytest.fixture
def predictions() -> Predictions:
    random = np.random.default_rng(0)
    return Predictions.from_scores(IDS, random.normal(size=(3, 97)), random.normal(size=(3, 300)))


def test_kept_predictions_are_joined_on_narration_id(predictions: Predictions) -> None:
    teacher = cached_teacher(Path("x.npz"), predictions, [segment(name) for name in reversed(IDS)])
    source = replace(labelled({}, ZEROS, ZEROS), narration_ids=[IDS[1], IDS[2]])
    soft = teacher.add_soft_labels(source)
    assert soft.partner is None
    np.testing.assert_array_equal(soft.labels.teacher_verb_BV.numpy(), predictions.verb_logprobs[[1, 2]])
    np.testing.assert_array_equal(soft.labels.teacher_noun_BN.numpy(), predictions.noun_logprobs[[1, 2]])
    mixed = teacher.add_soft_labels(replace(source, partner=source.labels, share_B=torch.ones(2)))
    assert torch.equal(mixed.partner.teacher_noun_BN, soft.labels.teacher_noun_BN.flip(0))


def test_missing_segments_are_named(predictions: Predictions) -> None:
    with pytest.raises(PredictionsError, match="P09_01_1"):
        cached_teacher(Path("x.npz"), predictions, [segment("P09_01_1")])


def test_a_model_judges_the_clips_that_the_student_sees() -> None:
    class Judge(torch.nn.Module):
        def forward(self, clips: dict[str, torch.Tensor]) -> TwoHeadOutput:
            level = clips["rgb"].float().mean((1, 2, 3, 4))
            return TwoHeadOutput(level[:, None] * torch.ones(97), level[:, None] * torch.ones(300), {})

    teacher = Teacher(Path("x.pth"), ("rgb", "flow"), Judge())
    clips = {"rgb": torch.rand(2, 3, 4, 5, 5)}
    source = labelled(clips, ZEROS, ZEROS, share_B=torch.ones(2), partner=Labels(verb_B=ZEROS, noun_B=ZEROS))
    soft = teacher.add_soft_labels(source)
    torch.testing.assert_close(soft.labels.teacher_verb_BV[:, 0], clips["rgb"].mean((1, 2, 3, 4)))
    assert torch.equal(soft.partner.teacher_verb_BV, soft.labels.teacher_verb_BV)
