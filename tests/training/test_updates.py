"""What a step refuses before it moves a weight, and what the later updates of a step learn from."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor, nn

from epicsub.adaptation import AdaptationLosses, AdaptationMethod, LaterUpdate
from epicsub.data.batch import Batch, ClipBatch, LabelledClipBatch
from epicsub.errors import NotFiniteError
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe import SourceOnly, load_recipe
from epicsub.training.distill import Teacher
from epicsub.training.selection import FinalMean
from epicsub.training.state import State
from epicsub.training.step import later_updates, train_step

from .small import criterion, drawn_batch

CLIP = ["null", "1.0"]
TEACHER = "train.distillation={teacher: teacher.npz, weight: 0.5}"


class Infinite(torch.autograd.Function):
    """Its argument, with an infinite gradient."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return torch.full_like(gradient, torch.inf)


class Heads(nn.Module):
    """Two heads on the first pixel of a clip."""

    def __init__(self, spoilt: bool) -> None:
        super().__init__()
        self.verb, self.noun, self.spoilt = nn.Linear(3, 97), nn.Linear(3, 300), spoilt

    def forward(self, clips: dict[str, Tensor]) -> TwoHeadOutput:
        features = clips["rgb"][:, :, 0, 0, 0].float() / 255
        verb = self.verb(features)
        return TwoHeadOutput(Infinite.apply(verb) if self.spoilt else verb, self.noun(features), {"rgb": features})


class MovesVerbs(AdaptationMethod):
    """One later update, of the verb head, which classifies."""

    def losses(self, batch) -> AdaptationLosses:
        raise AssertionError

    def later_updates(self, model: nn.Module) -> Sequence[LaterUpdate]:
        return [LaterUpdate(list(model.verb.parameters()), lambda batch: 0 * batch.target.verb_logits_BV.sum(), True)]


def batch(size: int = 4) -> LabelledClipBatch:
    return drawn_batch({"rgb": (3, 1, 1, 1)}, size)


def state_of(fabric: Fabric, spoilt: bool = False, soft: float = 0.0, method: AdaptationMethod | None = None) -> State:
    torch.manual_seed(0)
    model = Heads(spoilt)
    wrapped, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=1.0))
    return State(
        model=wrapped, adaptation=method, criterion=criterion(soft=soft),
        optimizer=optimizer, agent_optimizer=None, final_mean=FinalMean(count=None, every=1),
    )  # fmt: skip


@pytest.mark.parametrize("clip", CLIP)
@pytest.mark.parametrize("parts", [1, 2])
def test_an_infinite_gradient_of_a_finite_loss_moves_nothing(repository: Path, clip: str, parts: int) -> None:
    settings = [f"train.clip_grad={clip}", f"train.accumulate={parts}", "train.stages.1.source_batch=16"]
    recipe = load_recipe(repository / "recipes" / "tiny" / "source_only.yaml", settings).recipe
    fabric = Fabric(accelerator="cpu", devices=1)
    state = state_of(fabric, spoilt=True)
    before = copy.deepcopy(state.model.module.state_dict())
    with pytest.raises(
        NotFiniteError, match=r"step 1: the gradient's norm is inf(.|\n)*source batch: P01_01_0, P01_01"
    ):
        train_step(fabric, recipe, recipe.train.stages[0], state, Batch(batch()), (0, 0))
    assert all(torch.equal(value, before[name]) for name, value in state.model.module.state_dict().items())


@pytest.mark.parametrize("clip", CLIP)
def test_a_gradient_scaler_leaves_such_a_step_out(repository: Path, clip: str) -> None:
    settings = [f"train.clip_grad={clip}", "train.precision=16-mixed", "train.accelerator=auto"]
    recipe = load_recipe(repository / "recipes" / "tiny" / "source_only.yaml", settings).recipe
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler))
    state = state_of(fabric, spoilt=True)
    before = copy.deepcopy(state.model.module.state_dict())
    train_step(fabric, recipe, recipe.train.stages[0], state, Batch(batch()), (0, 0))
    assert all(torch.equal(value, before[name]) for name, value in state.model.module.state_dict().items())
    assert scaler.get_scale() == 4.0


def test_a_later_update_learns_from_the_teacher_too(repository: Path) -> None:
    source, drawn, generator = batch(), batch(), torch.Generator().manual_seed(1)
    target = ClipBatch(narration_ids=drawn.narration_ids, clips=drawn.clips)
    labels = [torch.randn(4, classes, generator=generator).log_softmax(1) for classes in (97, 300)]
    rows = {name: row for row, name in enumerate(source.narration_ids)}
    recipe = load_recipe(repository / "recipes" / "tiny" / "mcd.yaml", [TEACHER]).recipe
    fabric = Fabric(accelerator="cpu", devices=1)
    state = state_of(fabric, soft=0.5, method=MovesVerbs({}, SourceOnly(method="source_only")))
    state.teacher = Teacher(Path("teacher.npz"), (), verb_SV=labels[0], noun_SN=labels[1], rows=rows)
    taught = replace(source, labels=replace(source.labels, teacher_verb_BV=labels[0], teacher_noun_BN=labels[1]))
    expected = state.criterion(state.model(source.clips), taught).item()
    assert expected != pytest.approx(state.criterion(state.model(source.clips), source).item(), rel=0.01)
    stage = recipe.train.stages[-1].model_copy(update={"class_weight": 1.0})
    figures = later_updates(fabric, recipe, stage, state, Batch(source, target), (0, 0))
    assert figures["loss_update_1"].item() == pytest.approx(expected, rel=1e-6)
