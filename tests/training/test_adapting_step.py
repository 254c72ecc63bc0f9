"""Eq 12 as a step of training puts it together: weights, reversal, both domains, agents on their own."""

import copy
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation import MMIR
from epicsub.adaptation.discriminator import reversal_strength
from epicsub.data.batch import Batch, LabelledClipBatch
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe import MMIRAdaptation, load_recipe
from epicsub.training.agents import AgentOptimizers
from epicsub.training.selection import FinalMean
from epicsub.training.state import State
from epicsub.training.step import train_step
from tests.adaptation.batches import section

from .small import criterion, drawn_batch

DIMS = {"rgb": 6, "flow": 4}
B, STEP, STEPS = 15, 3, 10
RATE, CLASS_WEIGHT, LOSS_WEIGHT, AGENT_RATE = 0.05, 0.2, 0.5, 0.03


class Streams(nn.Module):
    """One linear layer a modality, heads on both."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies = nn.ModuleDict({m: nn.Linear(dim, dim) for m, dim in DIMS.items()})
        self.verb, self.noun = nn.Linear(10, 97), nn.Linear(10, 300)

    def forward(self, clips: dict[str, Tensor]) -> TwoHeadOutput:
        features = {m: body(clips[m]) for m, body in self.bodies.items()}
        both = torch.cat(list(features.values()), dim=1)
        return TwoHeadOutput(self.verb(both), self.noun(both), features)


def part(seed: int, name: str) -> LabelledClipBatch:
    return drawn_batch({m: (dim,) for m, dim in DIMS.items()}, B, seed, name)


@pytest.fixture
def stepped(repository: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """One step of MMIR in the fourth of ten steps of its stage, and what stood before it."""
    words = [
        "train.optimizer={name: sgd, momentum: 0, weight_decay: 0}",
        "train.clip_grad=null",
        f"train.class_weight={CLASS_WEIGHT}",
        f"adaptation.loss_weight={LOSS_WEIGHT}",
        f"train.stages.1.steps={STEPS}",
        f"train.stages.1.learning_rate={RATE}",
        "train.stages.1.schedule=constant",
    ]
    recipe = load_recipe(repository / "recipes" / "tiny" / "features_mmir.yaml", words).recipe
    settings = section(MMIRAdaptation, discriminator_hidden=5, replay_size=24, replay_batch=2)
    torch.manual_seed(0)
    model, method = Streams(), MMIR(DIMS, settings, q_hidden=(8,))
    before = copy.deepcopy(model), copy.deepcopy(method)
    batch = Batch(part(1, "source"), part(2, "target"))
    fabric = Fabric(accelerator="cpu", devices=1)
    weights = [*model.parameters(), *method.alignment_parameters()]
    wrapped, optimizer = fabric.setup(model, torch.optim.SGD(weights, lr=0.0))
    state = State(
        model=wrapped, adaptation=method, criterion=criterion(), optimizer=optimizer,
        agent_optimizer=AgentOptimizers(method.parameters_by_agent(), AGENT_RATE), step=20,
        final_mean=FinalMean(count=None, every=1),
    )  # fmt: skip
    seen = []
    losses = method.losses
    monkeypatch.setattr(method, "losses", lambda given: seen.append(given) or losses(given))
    train_step(fabric, recipe, recipe.train.stages[1], state, batch, (1, STEP))
    return {"before": before, "model": model, "method": method, "batch": batch, "state": state, "seen": seen[0]}


def test_the_method_sees_what_the_model_made_of_each_domain(stepped: dict) -> None:
    model, seen, batch = stepped["before"][0], stepped["seen"], stepped["batch"]
    for domain in ("source", "target"):
        output, expected = getattr(seen, domain), model(getattr(batch, domain).clips)
        torch.testing.assert_close(output.verb_logits_BV, expected.verb_logits_BV)
        for m in DIMS:
            torch.testing.assert_close(output.features[m], expected.features[m])
    assert torch.equal(seen.verb_B, batch.source.labels.verb_B)
    assert torch.equal(seen.noun_B, batch.source.labels.noun_B)
    assert (seen.progress, seen.stage, seen.step) == (STEP / STEPS, 1, 20)
    assert seen.source_ids == batch.source.narration_ids
    assert seen.target_ids == batch.target.narration_ids


def test_the_weights_move_by_equation_12(stepped: dict) -> None:
    """0.2 of the classification loss, 0.5 of the kept clips' domain loss, which reaches the streams times -lam(0.3)."""
    model, method = stepped["before"]
    source, target = stepped["batch"].source, stepped["batch"].target
    outputs = model(source.clips), model(target.clips)
    classes = F.cross_entropy(outputs[0].verb_logits_BV, source.labels.verb_B)
    classes = classes + F.cross_entropy(outputs[0].noun_logits_BN, source.labels.noun_B)
    domains = torch.zeros(())
    for m in DIMS:
        kept = []
        for domain, output in zip(("source", "target"), outputs, strict=True):
            gone = set(stepped["state"].removed[f"{m}_{domain}"].tolist())
            assert len(gone) == B // 5
            kept.append(output.features[m][[row for row in range(B) if row not in gone]])
        p_s, p_t = (torch.sigmoid(method.discriminators[m](f_BD)) for f_BD in kept)
        domains = domains + (-(1 - p_s).log().sum() - p_t.log().sum()) / (len(p_s) + len(p_t))
    lam = reversal_strength(STEP / STEPS, 0.2)
    learnt = dict(model.named_parameters())
    by_class = torch.autograd.grad(classes, list(learnt.values()), retain_graph=True)
    by_domain = torch.autograd.grad(domains, list(learnt.values()), retain_graph=True, allow_unused=True)
    after = dict(stepped["model"].named_parameters())
    for (name, weight), one, other in zip(learnt.items(), by_class, by_domain, strict=True):
        reversed_ = 0.0 if other is None else -lam * LOSS_WEIGHT * other
        torch.testing.assert_close(after[name], weight - RATE * (CLASS_WEIGHT * one + reversed_), atol=1e-7, rtol=1e-5)
    discriminators = list(method.discriminators.parameters())
    for weight, gradient, moved in zip(
        discriminators, torch.autograd.grad(domains, discriminators),
        stepped["method"].discriminators.parameters(), strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(moved, weight - RATE * LOSS_WEIGHT * gradient, atol=1e-7, rtol=1e-5)


def test_the_agents_step_on_their_own_loss_and_their_copies_wait(stepped: dict) -> None:
    """Their first replay is of this step's episodes, more than the two that are drawn."""
    for before, after in zip(stepped["before"][1].agents.values(), stepped["method"].agents.values(), strict=True):
        moved = [
            not torch.equal(one, other)
            for one, other in zip(before.online.parameters(), after.online.parameters(), strict=True)
        ]
        assert any(moved)
        for one, other in zip(before.target.parameters(), after.target.parameters(), strict=True):
            assert torch.equal(one, other)
