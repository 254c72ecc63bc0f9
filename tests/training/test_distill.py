"""Soft labels from a teacher: joined on narration id, kept with their clips through mixing and parts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from epicsub.data.annotations import Segment
from epicsub.errors import PredictionsError
from epicsub.models import TwoHeadOutput
from epicsub.predictions import Predictions
from epicsub.training.distill import Teacher, cached_teacher

IDS = ["P01_01_0", "P01_01_1", "P02_03_7"]


def segment(name: str) -> Segment:
    return Segment(name, name[:3], name[:6], 0.0, 1.0, 0, 60, 1, 2)


@pytest.fixture
def predictions() -> Predictions:
    random = np.random.default_rng(0)
    return Predictions.from_scores(IDS, random.normal(size=(3, 97)), random.normal(size=(3, 300)))


def test_kept_predictions_are_joined_on_narration_id(predictions: Predictions) -> None:
    teacher = cached_teacher(Path("x.npz"), predictions, [segment(name) for name in reversed(IDS)])
    source = {"narration_id": [IDS[1], IDS[2]], "verb": torch.zeros(2).long()}
    soft = teacher.soft_labels(source)
    np.testing.assert_array_equal(soft["verb_teacher"].numpy(), predictions.verb_logprobs[[1, 2]])
    np.testing.assert_array_equal(soft["noun_teacher"].numpy(), predictions.noun_logprobs[[1, 2]])
    mixed = teacher.soft_labels(source | {"share_B": torch.ones(2)})
    assert torch.equal(mixed["noun_teacher_mixed"], soft["noun_teacher"].flip(0))


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
    soft = teacher.soft_labels({"clips": clips, "share_B": torch.ones(2)})
    torch.testing.assert_close(soft["verb_teacher"][:, 0], clips["rgb"].mean((1, 2, 3, 4)))
    assert torch.equal(soft["verb_teacher_mixed"], soft["verb_teacher"])
