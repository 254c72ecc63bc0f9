"""Forward passes have the precision of training; fused steps are the plain ones; batches keep their order."""

from pathlib import Path

import pytest
import torch

from epicsub.recipe import load_recipe
from epicsub.training.build import optimizer_of
from epicsub.training.device import autocast, copied_ahead


@pytest.mark.parametrize(
    ("precision", "device", "dtype"),
    [
        ("bf16-mixed", "cpu", torch.bfloat16),
        ("32-true", "cpu", torch.float32),
        ("16-mixed", "cpu", torch.float32),
    ],
)
def test_forward_passes_are_in_the_precision_of_training(precision: str, device: str, dtype: torch.dtype) -> None:
    with autocast(precision, torch.device(device)):
        assert (torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)).dtype is dtype


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_fused_optimisers_step_as_the_plain_ones(repository: Path, name: str) -> None:
    words = [f"train.optimizer={{name: {name}, momentum: 0.9, weight_decay: 0.01}}"]
    recipe = load_recipe(repository / "recipes" / "tiny" / "source_only.yaml", words).recipe
    ends = []
    for fused in (False, True):
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 64))
        optimizer = optimizer_of(recipe, [weight], fused)
        for step in range(5):
            optimizer.param_groups[0]["lr"] = 0.1
            weight.grad = torch.sin(weight.detach() * (step + 1))
            optimizer.step()
        ends.append(weight.detach())
    torch.testing.assert_close(ends[1], ends[0], atol=1e-6, rtol=1e-6)


def test_batches_are_moved_in_order_and_not_before_they_are_asked_for_on_a_cpu() -> None:
    seen: list[int] = []
    moved = copied_ahead(iter(range(3)), lambda x: seen.append(x) or -x, torch.device("cpu"))
    assert next(moved) == 0
    assert seen == [0]
    assert list(moved) == [-1, -2]
