"""The arithmetic of the range test and of repeated batches."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from epicsub.data.batch import Batch
from epicsub.errors import NotFiniteError, TrainingError
from epicsub.recipe import Stage, load_recipe
from epicsub.training import find
from epicsub.training.dry_run import _format_operations, format_hours
from epicsub.training.find import _repeat_clips, _smoothed, _steepest

from .small import labelled


def test_smoothing_has_no_bias_at_the_start() -> None:
    assert _smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert _smoothed([0.0, 1.0]) == pytest.approx([0.0, 0.1 / 0.19])


@pytest.mark.parametrize("place", [1e-4, 1e-2])
def test_the_steepest_rate_is_found_before_the_minimum(place: float) -> None:
    rates = np.geomspace(1e-6, 1, 100)
    losses = 3 - 2 / (1 + (place / rates) ** 2) + np.where(rates > 30 * place, 50 * (rates - 30 * place), 0)
    assert _steepest(rates.tolist(), losses.tolist()) == pytest.approx(place, rel=0.5)


@pytest.mark.parametrize("finite", [0, 1, 2])
def test_the_range_test_says_so_where_its_first_steps_are_not_finite(
    finite: int, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(repository / "recipes" / "tiny" / "source_only.yaml").recipe

    def step(stage: Stage, number: int, batch: dict) -> dict[str, float]:
        if number >= finite:
            raise NotFiniteError(f"step {number + 1}: the loss is nan")
        return {"loss_classification": 3.0 - number}

    trial = SimpleNamespace(recipe=recipe, batches=lambda index, steps: [{}] * steps, step=step)
    monkeypatch.setattr(find, "start_trial", lambda recipe, domains: trial)
    if finite < 2:
        with pytest.raises(TrainingError, match=rf"nothing to compare: at .*, step {finite + 1}: the loss is nan"):
            list(find.find_rate(recipe, None))
    else:
        assert "try train.stages.0.learning_rate=" in list(find.find_rate(recipe, None))[-2]


def test_a_batch_is_repeated_with_all_that_belongs_to_its_clips() -> None:
    part = labelled({"rgb": torch.arange(3.0)[:, None]}, torch.arange(3), torch.arange(3))
    made = _repeat_clips(Batch(part, part), 5, 0.8)
    assert made.source.narration_ids == [part.narration_ids[row] for row in (0, 1, 2, 0, 1)]
    assert made.source.labels.verb_B.tolist() == made.source.clips["rgb"][:, 0].tolist() == [0, 1, 2, 0, 1]
    assert made.target.clips["rgb"][:, 0].tolist() == [0, 1, 2, 0]


def test_hours() -> None:
    assert (format_hours(30.04), format_hours(0.5)) == ("30.0 hours", "30.0 minutes")


def test_operations() -> None:
    assert [_format_operations(count) for count in (2.5e9, 3e12, 4.2e18)] == ["2.5 GFLOP", "3.0 TFLOP", "4.2 EFLOP"]
