"""One run of an arm of benchmarks/handwash.py on frozen features: its recipe, its scores by video, its agents' power.

Arms, what they share and the grid are those of arms.py; there are no planted outliers here, so no oracle. TA3N reads
the three views of a segment as three frames, by a network of its own, which has its control.
"""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from arms import ARMS as SHARED
from arms import Values, settings, told_apart
from handwash_data import HALVES, HELDOUT, TARGET, TRAIN
from power import perfect_rewards, power_of_run

from epicsub.data.annotations import read_segments
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.errors import NotFiniteError
from epicsub.inference.predict import predict
from epicsub.inference.targets import Target, Trained
from epicsub.io import write_text
from epicsub.recipe import load_recipe
from epicsub.training.checkpoint import load_checkpoint
from epicsub.training.loaders import view_loader
from epicsub.training.loop import fit
from epicsub.training.preflight import prepare

RECIPE = Path("benchmarks/handwash/frozen.yaml")
SOURCE_BATCH = 40  # of the recipe's second stage
RELATIONS = "model={name: temporal_relations, dims: {rgb: 1024, flow: 1280}, segments: 3, shared: 128, hidden: 128, "
ARMS = {name: arm for name, arm in SHARED.items() if name not in ("oracle", "supervised")}
SUPERVISED = {f"supervised_{video:03d}": video for video in HALVES}
"""Upper bounds: trained on one target video, scored on the other."""
POWER = "power"
ONE_VIEW = Views()
MARKED_STEPS = (2, 6)  # verb classes that a perfect reward pays for: a fifth of the instances of both sinks
NO_TARGET = ("data.target=[]", "supervision.data=3", "train.stages.1.target_batch=0")


class Job(NamedTuple):
    """One run to make; `arm` may be MMIR with a perfect reward, or a bound."""

    arm: str
    values: Values
    seed: int
    root: DataRoot
    out: Path

    @property
    def kept_in(self) -> Path:
        """Where its scores are."""
        return self.out / "runs" / self.arm / str(self.values).replace(" / ", "_") / f"{self.seed}.json"


def own_of(arm: str) -> Values:
    """The setting of an arm's paper or code, at the recipe's learning rate."""
    chosen = ARMS[arm.removesuffix(f"_{POWER}")] if arm not in SUPERVISED else SHARED["supervised"]
    return told_apart(chosen, Values(*chosen.own, 1e-3))


def words_of(job: Job) -> list[str]:
    """What the job changes in the recipe."""
    words = [f"seed={job.seed}", "train.log_every=1000", "train.checkpoint_every=100000"]
    if job.arm in SUPERVISED:
        learned = HALVES[SUPERVISED[job.arm]]
        words += [one for one in NO_TARGET if not one.startswith("supervision")]
        return [*words, "adaptation={method: supervised}", f"data.source=[{learned}]", "supervision.data=4"]
    name = job.arm.removesuffix(f"_{POWER}")
    arm = ARMS[name]
    words += settings(arm, job.values, SOURCE_BATCH, "")
    if arm.attention is not None:
        words.append(f"{RELATIONS}attention: {str(arm.attention).lower()}}}")
    else:
        words.append(f"train.start={start_of(job).absolute()}")
    return words + ([one for one in NO_TARGET if one not in words] if "source_only" in arm.method else [])


def start_of(job: Job) -> Path:
    """The end of the first stage, which the arms of a seed share."""
    return job.out / "starts" / f"{job.seed}.pth"


def make_start(job: Job) -> None:
    """Train the first stage of a seed's runs."""
    torch.set_num_threads(1)
    path = start_of(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=job.out) as folder:
        words = ["adaptation={method: source_only}", *NO_TARGET, f"seed={job.seed}", "train.stages.1.steps=1"]
        loaded = load_recipe(RECIPE, words)
        fit(loaded.recipe, prepare(loaded, job.root, Path(folder)), Path(folder), None, None)
        shutil.copy(Path(folder) / "stage_1.pth", f"{path}.part")
    Path(f"{path}.part").rename(path)


def run(job: Job) -> None:
    """Make one run and keep its scores in percent, or that it diverged."""
    torch.set_num_threads(1)
    powers = job.arm.endswith(f"_{POWER}")
    marked = marked_ids(job.root) if powers else set()
    with TemporaryDirectory(dir=job.out) as folder, perfect_rewards(marked) if powers else nullcontext():
        loaded = load_recipe(RECIPE, words_of(job))
        figures: dict[str, Any]
        try:
            path = fit(loaded.recipe, prepare(loaded, job.root, Path(folder)), Path(folder), None, None)
            trained = _loaded(path)
            figures = power_of_run(trained, job.root, marked, job.seed) if powers else scores(trained, job.root)
        except NotFiniteError as error:
            last = Path(folder) / "last_finite.pth"
            figures = {"diverged": str(error)}
            if last.is_file() and not powers:
                figures["last_finite"] = scores(_loaded(last), job.root)
    write_text(job.kept_in, json.dumps(figures) + "\n")


def _loaded(path: Path) -> Trained:
    return Target(path.stem, path, load_checkpoint(path)).load(torch.device("cpu"))


def marked_ids(root: DataRoot) -> set[str]:
    """Segments of both sinks that a perfect reward pays for."""
    segments = [segment for name in (TRAIN, TARGET) for segment in read_segments(root.annotations(name))]
    return {segment.narration_id for segment in segments if segment.verb_class in MARKED_STEPS}


def scores(trained: Trained, root: DataRoot, views: Views = ONE_VIEW) -> dict[str, dict[str, float]]:
    """Top-1 of action, verb and noun in percent, by video: the held-out one of the source, both of the target."""
    found = {}
    for name in (HELDOUT, TARGET):
        segments = read_segments(root.annotations(name))
        loader = view_loader(trained.recipe, root, segments, views)
        predicted = predict(trained.model, loader, len(loader), torch.device("cpu"), name)
        rows = predicted.select([segment.narration_id for segment in segments])
        verb_N = rows.verb_logprobs.argmax(1) == np.array([segment.verb_class for segment in segments])
        noun_N = rows.noun_logprobs.argmax(1) == np.array([segment.noun_class for segment in segments])
        video_N = np.array([int(segment.participant_id[1:]) for segment in segments])
        for video in sorted(set(video_N.tolist())):
            tasks = {"action": verb_N & noun_N, "verb": verb_N, "noun": noun_N}
            found[str(video)] = {task: 100 * float(right_N[video_N == video].mean()) for task, right_N in tasks.items()}
    return found


def kept(job: Job) -> dict[str, Any]:
    """Scores of a finished run, or why it diverged."""
    found: dict[str, Any] = json.loads(job.kept_in.read_text())
    return found
