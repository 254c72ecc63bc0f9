"""A step in parts is the step on all clips: for every method, in gradients and in draws."""

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from epicsub.data.batch import Batch
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe import Recipe, load_recipe
from epicsub.training.build import adaptation_of, agent_optimizer_of, model_of
from epicsub.training.parts import Passes
from epicsub.training.selection import FinalMean
from epicsub.training.state import State
from epicsub.training.step import train_step

from .small import criterion, drawn_batch

DIMS = {"rgb": (8,), "flow": (8,)}
ZEROES = ", adversarial_weights: [0, 1], correspondence_weights: [0, 1]"
METHODS = ["adversarial", "mmd", "mcd", "mm_sada", "contrastive", "mmir_plus", "mmir", "rna", "self_training"]


def recipe_of(repository: Path, method: str, parts: int) -> Recipe:
    """A method on features, where no layer sees two clips at once and nothing is drawn."""
    words = [
        f"adaptation={{method: {method}{ZEROES if method == 'mm_sada' else ''}}}", f"train.accumulate={parts}",
        "model={name: feature_heads, dims: {rgb: 8, flow: 8}, bottleneck: 6, batch_norm: false, dropout: 0}",
        "data.modalities=[rgb, flow]", "data.features={rgb: features, flow: features}",
        "train.optimizer={name: sgd, momentum: 0, weight_decay: 0}", "train.clip_grad=null",
        "train.stages.0.source_batch=15", "train.stages.1.source_batch=15", "train.stages.1.target_batch=15",
    ]  # fmt: skip
    return load_recipe(repository / "recipes" / "tiny" / "features_mmir.yaml", words).recipe


def stepped(recipe: Recipe) -> State:
    """The state after two steps of the stage that adapts, on 15 + 15 clips."""
    torch.manual_seed(0)
    model = model_of(recipe, weights=False)
    method = adaptation_of(recipe, model)
    assert method is not None
    weights = [*model.parameters(), *method.alignment_parameters()]
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer = fabric.setup(model, torch.optim.SGD(weights, lr=0.0))
    state = State(
        model=wrapped, adaptation=method, criterion=criterion(), optimizer=optimizer,
        agent_optimizer=agent_optimizer_of(recipe, method.parameters_by_agent()),
        final_mean=FinalMean(count=None, every=1),
    )  # fmt: skip
    for number in range(2):
        batch = Batch(drawn_batch(DIMS, 15, number, "source"), drawn_batch(DIMS, 15, 9 + number, "target"))
        train_step(fabric, recipe, recipe.train.stages[1], state, batch, (1, number))
        state.step += 1
    return state


@pytest.mark.parametrize("method", METHODS)
def test_every_method_steps_in_parts_as_on_the_whole_batch(repository: Path, method: str) -> None:
    whole, parts = (stepped(recipe_of(repository, method, n)) for n in (1, 3))
    for part in ("model", "adaptation"):
        before = getattr(whole, part).state_dict()
        for name, value in getattr(parts, part).state_dict().items():
            torch.testing.assert_close(value, before[name], atol=1e-6, rtol=1e-5)
    assert {k: v.tolist() for k, v in whole.removed.items()} == {k: v.tolist() for k, v in parts.removed.items()}


class Noisy(nn.Module):
    """Batch norm and dropout, and how often the model was run."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 97), nn.BatchNorm1d(97), nn.Dropout(0.5))
        self.seen: list[Tensor] = []

    def forward(self, clips: dict[str, Tensor]) -> TwoHeadOutput:
        verb = self.body(clips["rgb"])
        self.seen.append(verb.detach())
        return TwoHeadOutput(verb, verb[:, :3], {"rgb": verb})


def test_a_part_draws_the_same_dropout_twice_and_counts_in_batch_norm_once() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(0)
    model = Noisy()
    wrapped, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
    state = State(
        model=wrapped, adaptation=None, criterion=criterion(), optimizer=optimizer,
        agent_optimizer=None, final_mean=FinalMean(count=None, every=1),
    )  # fmt: skip
    passes = Passes(fabric, state, 2)
    output = passes.forward(drawn_batch(DIMS, 8), 8)
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    drawn = torch.get_rng_state()
    passes.backward(output.verb_logits_BV.square().sum() + output.features["rgb"].sum())
    assert torch.equal(torch.cat(model.seen[:2]), torch.cat(model.seen[2:]))
    assert torch.equal(output.verb_logits_BV, torch.cat(model.seen[:2]))
    assert all(torch.equal(value, statistics[name]) for name, value in model.named_buffers())
    assert model.body[1].num_batches_tracked == 2
    assert torch.equal(torch.get_rng_state(), drawn)
