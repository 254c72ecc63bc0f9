"""A step that is not finite: decided on the device, without a wait; and how often the host waits in a step."""

import copy
import json
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from epicsub.adaptation import MCD, MMD, MMIR, MMSADA, RNA, TA3N, Adversarial, Contrastive, RuleRemoval, SelfTraining
from epicsub.adaptation.mmir_plus import MMIRPlus
from epicsub.data.batch import Batch
from epicsub.errors import NotFiniteError
from epicsub.models.feature_heads import FeatureHeads
from epicsub.models.heads import TwoHeadOutput
from epicsub.models.temporal_relations import TemporalRelations
from epicsub.models.two_classifiers import TwoClassifiers
from epicsub.recipe import load_recipe
from epicsub.recipe.adaptation import (
    AdversarialAdaptation,
    ContrastiveAdaptation,
    MCDAdaptation,
    MMDAdaptation,
    MMIRAdaptation,
    MMIRPlusAdaptation,
    MMSADAAdaptation,
    RandomRemovalAdaptation,
    RewardsSection,
    TA3NAdaptation,
)
from epicsub.recipe.unlabelled import RNAAdaptation, SelfTrainingAdaptation
from epicsub.training.agents import AgentOptimizers
from epicsub.training.selection import FinalMean
from epicsub.training.state import State
from epicsub.training.step import train_step
from tests.adaptation.batches import section

from .small import criterion, drawn_batch

DIMS = {"rgb": 6, "flow": 4}
METHODS = {
    "mmir": lambda: MMIR(DIMS, section(MMIRAdaptation, replay_size=24, replay_batch=2), q_hidden=(8,)),
    "mmir, decaying": lambda: MMIR(
        DIMS, section(MMIRAdaptation, replay_size=24, replay_batch=2, epsilon_schedule="decay"), q_hidden=(8,)
    ),
    "adversarial": lambda: Adversarial(DIMS, section(AdversarialAdaptation)),
    "mm_sada": lambda: MMSADA(DIMS, section(MMSADAAdaptation)),
    "mmd": lambda: MMD(DIMS, section(MMDAdaptation)),
    "contrastive": lambda: Contrastive(DIMS, section(ContrastiveAdaptation)),
    "random removal": lambda: RuleRemoval(DIMS, section(RandomRemovalAdaptation)),
    "mmir, paid by the task": lambda: MMIR(
        DIMS, section(MMIRAdaptation, replay_size=24, replay_batch=2, rewards=TASK), q_hidden=(8,)
    ),
    "mmir_plus": lambda: MMIRPlus(DIMS, section(MMIRPlusAdaptation)),
    "mcd": lambda: MCD(RELATIONS["hidden"], section(MCDAdaptation)),
    "mcd in three updates": lambda: MCD(RELATIONS["hidden"], section(MCDAdaptation, updates="three")),
    "ta3n": lambda: TA3N(RELATIONS["hidden"], RELATIONS["shared"], section(TA3NAdaptation)),
    "rna": lambda: RNA(DIMS, section(RNAAdaptation)),
    "self_training": lambda: SelfTraining(Streams(), section(SelfTrainingAdaptation)),
}
TASK = RewardsSection(relevance="task", quantile=0.2, continuous=True)
RELATIONS = {"hidden": dict.fromkeys(DIMS, 5), "shared": dict.fromkeys(DIMS, 7)}
MODELS = {
    "mcd": lambda: TwoClassifiers(FeatureHeads(DIMS, 5, batch_norm=True), 0.5),
    "mcd in three updates": lambda: TwoClassifiers(FeatureHeads(DIMS, 5, batch_norm=True), 0.5),
    "ta3n": lambda: TemporalRelations(DIMS, 3, shared=7, hidden=5),
}
FRAMES = {"ta3n": (5,)}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.0, momentum=0.9, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.0, fused=True),
}


class Streams(nn.Module):
    """One linear layer and batch norm a modality, heads on both."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies = nn.ModuleDict({m: nn.Sequential(nn.Linear(d, d), nn.BatchNorm1d(d)) for m, d in DIMS.items()})
        self.verb, self.noun = nn.Linear(10, 97), nn.Linear(10, 300)

    def forward(self, clips: dict[str, Tensor]) -> TwoHeadOutput:
        features = {m: body(clips[m]) for m, body in self.bodies.items()}
        both = torch.cat(list(features.values()), dim=1)
        return TwoHeadOutput(self.verb(both), self.noun(both), features)


def begun(repository: Path, name: str, optimizer: str = "sgd", clip: str = "1.0") -> tuple:
    """A state and what steps it."""
    words = ["train.optimizer={name: sgd, momentum: 0, weight_decay: 0}", f"train.clip_grad={clip}"]
    recipe = load_recipe(repository / "recipes" / "tiny" / "features_mmir.yaml", words).recipe
    torch.manual_seed(0)
    model, method = MODELS.get(name, Streams)(), METHODS[name]()
    fabric = Fabric(accelerator="cpu", devices=1)
    weights = [*model.parameters(), *method.alignment_parameters()]
    wrapped, wrapped_optimizer = fabric.setup(model, OPTIMIZERS[optimizer](weights))
    agents = AgentOptimizers(method.parameters_by_agent(), 0.01, 0.9) if method.parameters_by_agent() else None
    state = State(
        model=wrapped, adaptation=method, criterion=criterion(), optimizer=wrapped_optimizer, agent_optimizer=agents,
        final_mean=FinalMean(count=None, every=1),
    )  # fmt: skip

    def step(poison: float | None = None) -> None:
        parts = [
            drawn_batch({m: (*FRAMES.get(name, ()), dim) for m, dim in DIMS.items()}, 15, 2 * state.step + k, d)
            for k, d in enumerate("st")
        ]
        for part in parts if name in FRAMES else ():
            part.clips.update({m: x.float() for m, x in part.clips.items()})
        if poison is not None:
            parts[0].clips["rgb"][3, 2] = poison
        train_step(fabric, recipe, recipe.train.stages[1], state, Batch(*parts), (1, state.step))
        state.step += 1

    return state, model, method, step


def weights_of(model: nn.Module, method: nn.Module, statistics: bool = False) -> dict[str, Tensor]:
    kept = {f"model.{n}": v for n, v in model.state_dict().items() if statistics or "running" not in n}
    kept |= {f"method.{n}": v for n, v in method.named_parameters() if not n.startswith("agents.")}
    return {n: v.clone() for n, v in kept.items() if "num_batches" not in n}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_no_weight_moves_in_the_step_or_after_it_and_the_reading_names_it(
    repository: Path, optimizer: str, poison: float
) -> None:
    """Two good steps, a bad one, two more; statistics are as before the bad one once it is read."""
    state, model, method, step = begun(repository, "mmir", optimizer)
    step()
    step()
    state.watch.read(model)
    before = weights_of(model, method, statistics=True)
    moments = copy.deepcopy(state.optimizer.optimizer.state_dict()["state"])
    step(poison)
    step()
    step()
    for name, value in weights_of(model, method).items():
        assert torch.equal(value, before[name]), name
    for place, kept in state.optimizer.optimizer.state_dict()["state"].items():
        for name, value in kept.items():
            assert torch.equal(value, moments[place][name]), (place, name)
    with pytest.raises(NotFiniteError, match=r"step 3: the loss is nan(.|\n)*source batch: s_0, s_1, (.|\n)*t_14"):
        state.watch.read(model)
    assert state.watch.failed_step == 3
    for name, value in weights_of(model, method, statistics=True).items():
        assert torch.equal(value, before[name]), name


class Waits(TorchDispatchMode):
    """Counts what makes a host wait for its device: reading numbers, and shapes that depend on values."""

    ALWAYS = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "_unique2",
        "unique_dim",
        "equal",
        "is_nonzero",
        "item",
    )
    INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self._calls = Calls(self.seen)

    def __enter__(self):
        self._calls.__enter__()
        return super().__enter__()

    def __exit__(self, *raised):
        super().__exit__(*raised)
        self._calls.__exit__(*raised)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = [i for i in (args[1] if name in self.INDEXED else ()) if i is not None]
        if name in self.ALWAYS or any(i.dtype in (torch.bool, torch.uint8) for i in masks):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


class Calls(TorchFunctionMode):
    """What a CPU's tensors answer without a kernel, where a GPU's would be waited for."""

    NAMES = ("cpu", "numpy")

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in self.NAMES:
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_the_count_sees_what_waits() -> None:
    x = torch.arange(4.0)
    with Waits() as waits:
        x[0].item()
        x[x > 1]
        (x > 1).nonzero()
        bool(x.sum() > 0)
        x.cpu()
        x.numpy()
    assert len(waits.seen) == 6, waits.seen


@pytest.mark.parametrize("name", METHODS)
def test_a_step_waits_for_nothing(repository: Path, name: str, tmp_path: Path) -> None:
    state, model, _, step = begun(repository, name)
    for _ in range(4):  # the pools fill
        step()
    state.watch.read(model)
    with Waits() as waits:
        step()
    print(json.dumps({"host_syncs_per_step": len(waits.seen)}))
    assert waits.seen == []
