"""One step: gradients in parts equal those of the whole batch, learning rates follow batch and parts."""

import copy
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from epicsub.data.batch import Batch, LabelledClipBatch
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe import load_recipe
from epicsub.training.augmentation import Mix, mix_batch
from epicsub.training.build import optimizer_of, rate_scale, scaled_rate_notes, trained_parameters
from epicsub.training.losses import Criterion, HeadLoss
from epicsub.training.selection import FinalMean
from epicsub.training.state import State
from epicsub.training.step import classify, train_step

from .small import criterion, drawn_batch


class Small(nn.Module):
    """Two heads on the mean over a clip, with a layer norm, which sees one clip at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 16), nn.LayerNorm(16), nn.GELU())
        self.verb, self.noun = nn.Linear(16, 97), nn.Linear(16, 300)

    def forward(self, clips: dict[str, torch.Tensor]) -> TwoHeadOutput:
        features = self.body(clips["rgb"].float().mean((2, 3, 4)) / 255)
        return TwoHeadOutput(self.verb(features), self.noun(features), {"rgb": features})


def batch(size: int) -> LabelledClipBatch:
    return drawn_batch({"rgb": (3, 2, 8, 8)}, size)


def gradients(parts: int, source: LabelledClipBatch, head: dict) -> tuple[dict[str, torch.Tensor], float, torch.Tensor]:
    torch.manual_seed(0)
    model = Small()
    fabric = Fabric(accelerator="cpu", devices=1)
    heads = {"verb": HeadLoss(torch.arange(97), **head), "noun": HeadLoss(torch.arange(300), **head)}
    wrapped, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
    state = State(
        model=wrapped,
        adaptation=None,
        criterion=Criterion(heads, {"verb": 1.0, "noun": 1.0}),
        optimizer=optimizer,
        agent_optimizer=None,
        final_mean=FinalMean(count=None, every=1),
    )
    output, loss = classify(fabric, state, source, source, parts)
    found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return found, float(loss), output.verb_logits_BV


@pytest.mark.parametrize("head", [{}, {"name": "focal", "weights": "square_root"}, {"name": "logit_adjusted"}])
@pytest.mark.parametrize("mixed", [False, True])
def test_parts_add_up_to_the_whole_batch(head: dict, mixed: bool) -> None:
    source = mix_batch(batch(12), Mix(0.3, None)) if mixed else batch(12)
    whole, loss, logits = gradients(1, source, head)
    for parts in (2, 3, 12):
        found, other_loss, other_logits = gradients(parts, source, head)
        assert other_loss == pytest.approx(loss, rel=1e-6)
        torch.testing.assert_close(other_logits, logits, atol=1e-6, rtol=1e-6)
        for name, gradient in whole.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-6)


def stepped(repository: Path, *settings: str, clip: str = "null") -> tuple[dict[str, torch.Tensor], Small]:
    """Weights before a whole step of the tiny control's recipe on twelve clips, and the model after it."""
    words = ["train.optimizer={name: sgd, momentum: 0, weight_decay: 0}", f"train.clip_grad={clip}"]
    words += ["train.stages.0.source_batch=12"]
    recipe = load_recipe(repository / "recipes" / "tiny" / "source_only.yaml", [*words, *settings]).recipe
    torch.manual_seed(0)
    model = Small()
    before = copy.deepcopy(model.state_dict())
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer = fabric.setup(model, optimizer_of(recipe, trained_parameters(recipe, model, [])))
    state = State(
        model=wrapped, adaptation=None, criterion=criterion(), optimizer=optimizer,
        agent_optimizer=None, final_mean=FinalMean(count=None, every=1),
    )  # fmt: skip
    train_step(fabric, recipe, recipe.train.stages[0], state, Batch(batch(12)), (0, 0))
    return before, model


def test_a_step_in_parts_moves_the_weights_as_one_on_the_whole_batch_does(repository: Path) -> None:
    for clip in ("null", "0.01"):
        whole, parts = (stepped(repository, f"train.accumulate={n}", clip=clip)[1].state_dict() for n in (1, 3))
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, atol=1e-7, rtol=1e-6)


def test_the_gradient_is_clipped_to_its_norm(repository: Path) -> None:
    def moved(clip: str) -> dict[str, torch.Tensor]:
        before, model = stepped(repository, "train.stages.0.learning_rate=1.0", clip=clip)
        return {name: before[name] - value for name, value in model.state_dict().items()}

    free, clipped = moved("null"), moved("0.01")
    norm = torch.stack([value.square().sum() for value in free.values()]).sum().sqrt()
    assert norm > 0.1
    for name, value in free.items():
        torch.testing.assert_close(clipped[name], 0.01 / norm * value, atol=1e-6, rtol=1e-3)


def test_a_step_moves_parts_by_their_own_rates(repository: Path) -> None:
    before, plain = stepped(repository)
    parts = "train.parts=[{name: body, rate: 0.5}, {name: verb, rate: 0.25}]"
    _, model = stepped(repository, parts)
    for name, value in model.state_dict().items():
        factor = {"body": 0.5, "verb": 0.25}.get(name.split(".")[0], 1.0)
        expected = factor * (plain.state_dict()[name] - before[name])
        torch.testing.assert_close(value - before[name], expected, atol=1e-7, rtol=1e-3)


def test_rows_of_a_batch_hold_every_entry_of_a_clip() -> None:
    source = mix_batch(batch(6), Mix(0.5, None))
    parts = [source.rows(slice(first, first + 2)) for first in (0, 2, 4)]
    assert parts[1].narration_ids == ["P01_01_2", "P01_01_3"]
    for part, rows in zip(parts, ([0, 1], [2, 3], [4, 5]), strict=True):
        chosen = source.rows(rows)
        assert chosen.narration_ids == part.narration_ids
        for one in (part, chosen):
            assert torch.equal(one.clips["rgb"], source.clips["rgb"][rows])
            assert torch.equal(one.labels.verb_B, source.labels.verb_B[rows])
            assert torch.equal(one.partner.noun_B, source.partner.noun_B[rows])
            assert torch.equal(one.share_B, source.share_B[rows])


def test_rates_scale_with_the_batch_and_say_so(repository) -> None:
    path = repository / "recipes" / "tiny" / "source_only.yaml"
    plain = load_recipe(path).recipe
    assert scaled_rate_notes(plain) == []
    assert rate_scale(plain, plain.train.stages[0]) == 1.0
    scaled = load_recipe(path, ["train.rate_batch=64", "train.stages.0.learning_rate=0.01"]).recipe
    assert rate_scale(scaled, scaled.train.stages[0]) == 16 / 64
    assert scaled_rate_notes(scaled)[0] == (
        "stage 1: learning rate 0.01 is meant for 64 clips per step, this one takes 16: 0.0025"
    )


def test_state_uses_the_last_weights_until_there_is_an_average() -> None:
    from epicsub.training.selection import WeightAverage

    model = Small()
    state = State(
        model=model, adaptation=None, criterion=Criterion({}, {}), optimizer=None, agent_optimizer=None,
        final_mean=FinalMean(count=None, every=1), average=WeightAverage(copy.deepcopy(model), "swa", start=1),
    )  # fmt: skip
    assert state.evaluation_model is model
    assert state.average is not None
    state.average.update(model, 2)
    assert state.evaluation_model is state.average.averaged.module
