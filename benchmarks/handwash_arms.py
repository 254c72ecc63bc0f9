"""The arms of benchmarks/handwash.py on frozen features: their recipes, one grid for all of them, and one run.

Shapes: N segments.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from agent_quality import agent_quality_of
from handwash_data import HELDOUT, TARGET, TRAIN, WHITE
from torch import Tensor

from epicsub.adaptation import METHODS, MMIR, AdaptationBatch, AdaptationLosses
from epicsub.data.annotations import Segment, read_segments
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.errors import TrainingError
from epicsub.inference.predict import predict
from epicsub.inference.targets import Target, Trained
from epicsub.io import write_text
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe import load_recipe
from epicsub.recipe.adaptation import MMIRAdaptation
from epicsub.training.build import adaptation_of
from epicsub.training.checkpoint import load_checkpoint
from epicsub.training.loaders import view_loader
from epicsub.training.loop import fit
from epicsub.training.preflight import prepare

RECIPE = Path("benchmarks/handwash/frozen.yaml")
TASKS = ("verb", "noun", "action")
CONTROL = "bn_only"
NO_TARGET = ("supervision.data=3", "data.target=[]", "train.stages.1.target_batch=0")
RELATIONS = "model={name: temporal_relations, dims: {rgb: 1024, flow: 1280}, segments: 3, shared: 128, hidden: 128"
CLASS_WEIGHTS, STRENGTHS, RATES = (0.2, 1.0), (0.2, 1.0), (3e-4, 1e-3, 3e-3)
OUTLIER_STEPS = (2, 6)  # of `power`: the steps whose instances a perfect reward marks, about a fifth of each sink


@dataclass(frozen=True)
class Arm:
    """What an arm changes in the recipe, and what the grid may set."""

    changes: tuple[str, ...] = ()
    strength: str = ""
    """Setting of the method that the grid sets; empty for none."""
    class_weight: float | None = None
    """The method's own weight of the class loss beside it; None where nothing stands beside the class loss."""


def _adapted(method: str, *changes: str, strength: str = "adaptation.lam_max", class_weight: float = 1.0) -> Arm:
    return Arm((f"adaptation={{method: {method}}}", *changes), strength, class_weight)


ARMS = {
    "source_only": Arm(("adaptation={method: source_only}", *NO_TARGET)),
    "bn_only": Arm(("adaptation={method: adversarial, lam_max: 0, loss_weight: 0}",)),
    "adabn": Arm(("adaptation={method: adabn}", "train.stages.1.target_batch=0")),
    "mmd": _adapted("mmd", strength="adaptation.loss_weight"),
    "mcd": _adapted("mcd"),
    "adversarial": _adapted("adversarial"),
    "mm_sada": _adapted("mm_sada", "train.stages.0.target_batch=40", class_weight=0.2),
    "contrastive": _adapted("contrastive", strength="adaptation.loss_weight"),
    "random_removal": _adapted("random_removal"),
    "min_delta": _adapted("min_delta"),
    "mmir": _adapted("mmir"),
    "mmir_task": _adapted("mmir", "adaptation.rewards={relevance: task, quantile: 0.2, continuous: true}"),
    "mmir_plus": _adapted("mmir_plus"),
    "relations_source_only": Arm((RELATIONS + ", attention: false}", "adaptation={method: source_only}", *NO_TARGET)),
    "ta3n": _adapted("ta3n", RELATIONS + ", attention: true}", strength="", class_weight=0.5),
}
SUPERVISED = {f"supervised_{v:03d}": v for v in WHITE}
"""Upper bounds: trained on one target video, scored on the other."""


class Point(NamedTuple):
    """One point of the grid; None leaves the recipe's or the method's own value."""

    class_weight: float | None = None
    strength: float | None = None
    rate: float | None = None

    def __str__(self) -> str:
        values = {"class weight": self.class_weight, "strength": self.strength, "rate": self.rate}
        return ", ".join(f"{name} {value:g}" for name, value in values.items() if value is not None) or "own"


OWN = Point()


def points_of(arm: str) -> list[Point]:
    """The grid, without what an arm has no setting for."""
    chosen = ARMS[arm]
    weights = CLASS_WEIGHTS if chosen.class_weight is not None else (None,)
    strengths = STRENGTHS if chosen.strength else (None,)
    return [Point(*values) for values in product(weights, strengths, RATES)]


class Job(NamedTuple):
    """One run to make."""

    arm: str
    point: Point
    seed: int
    root: DataRoot
    out: Path

    @property
    def kept_in(self) -> Path:
        """Where its scores are."""
        name = str(self.point).replace(", ", "_").replace(" ", "_")
        return self.out / "runs" / self.arm / name / f"{self.seed}.json"


def settings_of(job: Job) -> list[str]:
    """What the job changes in the recipe."""
    changes = [f"seed={job.seed}"]
    if job.arm in SUPERVISED:
        learned = f"target_{SUPERVISED[job.arm]:03d}.csv"
        return [*changes, "adaptation={method: supervised}", *NO_TARGET, f"data.source=[{learned}]"]
    arm = ARMS[job.arm]
    changes += arm.changes
    weight = job.point.class_weight or arm.class_weight
    if weight is not None:
        changes.append(f"train.stages.1.class_weight={weight}")
    if job.point.strength is not None:
        changes.append(f"{arm.strength}={job.point.strength}")
    if job.point.rate is not None:
        changes += [f"train.stages.{stage}.learning_rate={job.point.rate}" for stage in (0, 1)]
    return changes


def run(job: Job) -> None:
    """Make one run and keep its scores in percent, or that it diverged."""
    torch.set_num_threads(1)
    job.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=job.out) as folder:
        loaded = load_recipe(RECIPE, settings_of(job))
        try:
            path = fit(loaded.recipe, prepare(loaded, job.root, Path(folder)), Path(folder), None, None)
            trained = Target(path.stem, path, load_checkpoint(path)).load(torch.device("cpu"))
            figures: dict[str, Any] = scores(trained, job.root)
        except TrainingError as error:
            if "stopped before the update" not in str(error):
                raise
            figures = {"diverged": str(error)}
    write_text(job.kept_in, json.dumps(figures) + "\n")


def scores(trained: Trained, root: DataRoot) -> dict[str, float]:
    """Top-1 of verb, noun and both in percent: of each target video, and of the held-out source video."""
    found = {}
    for name in (HELDOUT, TARGET):
        segments = read_segments(root.annotations(name))
        loader = view_loader(trained.recipe, root, segments, Views())
        predictions = predict(trained.model, loader, len(loader), torch.device("cpu"), name)
        predictions = predictions.select([segment.narration_id for segment in segments])
        verb_N = predictions.verb_logprobs.argmax(1) == np.array([segment.verb_class for segment in segments])
        noun_N = predictions.noun_logprobs.argmax(1) == np.array([segment.noun_class for segment in segments])
        video_N = np.array([int(segment.participant_id[1:]) for segment in segments])
        for video in sorted(set(video_N.tolist())):
            for task, right_N in zip(TASKS, (verb_N, noun_N, verb_N & noun_N), strict=True):
                found[f"{video:03d} {task}"] = 100 * float(right_N[video_N == video].mean())
    return found


def result(job: Job) -> dict[str, float] | None:
    """Scores of a finished run; None of one that diverged."""
    figures: dict[str, float] = json.loads(job.kept_in.read_text())
    return None if "diverged" in figures else figures


# --- whether the agents can learn anything at this budget ------------------------------------------------------------


class PerfectlyPaid(MMIR):
    """MMIR whose agents earn +1 for the instances that are marked and -1 for all others."""

    marked: ClassVar[frozenset[str]] = frozenset()
    signs: dict[str, Tensor]

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        self.mark({"source": batch.source_ids, "target": batch.target_ids})
        return super()._losses(batch)

    def mark(self, ids: dict[str, Iterable[str]]) -> None:
        """Say which instances the rewards are of."""
        self.signs = {
            domain: torch.tensor([1.0 if name in self.marked else -1.0 for name in names])
            for domain, names in ids.items()
        }

    def instance_rewards(self, source: TwoHeadOutput, target: TwoHeadOutput) -> dict[str, Tensor]:
        """The marks, for every modality."""
        return {name: self.signs[name.rpartition("_")[2]] for name in self.agent_names}


@torch.no_grad()
def power(root: DataRoot, out: Path, seed: int) -> float:
    """Greedy precision of the agents after a run with a perfect reward, mean over agents; chance is the share marked.

    Counted over the candidate sets that hold a marked instance, so that 1 can be reached.
    """
    segments = {"source": read_segments(root.annotations(TRAIN)), "target": read_segments(root.annotations(TARGET))}
    everything = [segment for part in segments.values() for segment in part]
    PerfectlyPaid.marked = frozenset(one.narration_id for one in everything if one.verb_class in OUTLIER_STEPS)
    job = Job("mmir", OWN, seed, root, out)
    METHODS[MMIRAdaptation] = PerfectlyPaid
    try:
        with TemporaryDirectory(dir=out) as folder, torch.enable_grad():
            loaded = load_recipe(RECIPE, settings_of(job))
            path = fit(loaded.recipe, prepare(loaded, root, Path(folder)), Path(folder), None, None)
            trained = Target(path.stem, path, load_checkpoint(path)).load(torch.device("cpu"))
            method = adaptation_of(trained.recipe, trained.model)
            assert isinstance(method, PerfectlyPaid)
            method.load_state_dict(trained.checkpoint.training["adaptation"])
    finally:
        METHODS[MMIRAdaptation] = MMIR
    outputs = {domain: output_of(trained, root, part) for domain, part in segments.items()}
    method.mark({domain: [one.narration_id for one in part] for domain, part in segments.items()})
    planted = {domain: signs_N > 0 for domain, signs_N in method.signs.items()}
    quality = agent_quality_of(method, outputs, planted, seed)
    sets = {
        domain: 1 - float((1 - marked_N.float().mean()) ** method.settings.candidates)
        for domain, marked_N in planted.items()
    }
    reached = [one.greedy_precision / sets[name.rpartition("_")[2]] for name, one in quality.items()]
    return float(np.mean(reached))


def output_of(trained: Trained, root: DataRoot, segments: list[Segment]) -> TwoHeadOutput:
    """What the model says of all segments of a list."""
    loader = view_loader(trained.recipe, root, segments, Views())
    seen = [trained.model.eval()({m: x.flatten(0, 1) for m, x in views.items()}) for _, views in loader]
    return TwoHeadOutput(
        torch.cat([output.verb_logits_BV for output in seen]),
        torch.cat([output.noun_logits_BN for output in seen]),
        {m: torch.cat([output.features[m] for output in seen]) for m in trained.recipe.data.modalities},
    )
