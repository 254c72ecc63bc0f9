"""Before a run: which learning rate (`--find-lr`), and how large a batch (`--find-batch`).

Both train a model that is thrown away, and write nothing.
"""

import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from lightning_fabric import Fabric

from epicsub.data.batch import Batch
from epicsub.errors import NotFiniteError, TrainingError
from epicsub.recipe import Recipe, Stage
from epicsub.training.augmentation import augments_on_device, to_device
from epicsub.training.distill import with_teacher_modalities
from epicsub.training.loaders import Domains, training_loader
from epicsub.training.processes import make_fabric
from epicsub.training.state import State, build_state
from epicsub.training.step import Metrics, train_step

GIGA = 1024**3
LONG_STEP = 10.0  # seconds: a first step that takes longer is the measurement
LOWEST_RATE, HIGHEST_RATE, RATE_STEPS = 1e-6, 1.0, 100
SMOOTHING = 0.9  # of the losses in the range test
DIVERGED = 4.0  # times the lowest _smoothed loss
MEMORY_SHARE = 0.8  # of a CPU machine's memory: there is no failed allocation to wait for


@dataclass
class Trial:
    """A model on its device, to be thrown away."""

    recipe: Recipe
    domains: Domains
    fabric: Fabric
    state: State

    def step(self, stage: Stage, number: int, batch: Batch, index: int = 0) -> Metrics:
        """Take one optimiser step as in training.

        Args:
            stage: of the recipe.
            number: step within the stage, from 0.
            batch: from `batches`.
            index: of the stage.

        Returns:
            Its metrics.
        """
        self.state.model.train()
        batch = to_device(self.fabric, self.recipe, batch)
        metrics = train_step(self.fabric, self.recipe, stage, self.state, batch, (index, number))
        self.state.watch.read(self.state.model.module)
        self.state.step += 1
        return metrics

    def batches(self, index: int, steps: int) -> Iterator[Batch]:
        """Read the first batches of a stage, as training does.

        Args:
            index: of the stage.
            steps: how many.

        Returns:
            The batches.
        """
        return first_batches(self.recipe, self.domains, index, steps, augments_on_device(self.fabric))


def first_batches(
    recipe: Recipe, domains: Domains, index: int, steps: int, photometric_on_device: bool = False
) -> Iterator[Batch]:
    """Read the first batches of a stage, as training does.

    Args:
        recipe: as one device sees it.
        domains: the segments.
        index: of the stage.
        steps: how many.
        photometric_on_device: see `training_loader`.

    Returns:
        The batches.
    """
    cut = with_teacher_modalities(recipe, domains.teacher)
    return islice(training_loader(cut, domains, index, 0, photometric_on_device=photometric_on_device), steps)


def start_trial(recipe: Recipe, domains: Domains) -> Trial:
    """Build the recipe's model on one device, with one device's share of each batch.

    Args:
        recipe: the resolved recipe.
        domains: the segments.

    Returns:
        The trial, before its first step.
    """
    recipe = on_one_device(recipe)
    fabric = make_fabric(recipe.train, alone=True)
    fabric.launch()
    return Trial(recipe, domains, fabric, build_state(recipe, domains, fabric, None))


def on_one_device(recipe: Recipe) -> Recipe:
    """Divide the batches of a recipe by its devices.

    Args:
        recipe: the resolved recipe.

    Returns:
        The recipe as one device sees it.
    """
    devices = recipe.train.processes
    stages = [
        stage.model_copy(
            update={"source_batch": stage.source_batch // devices, "target_batch": stage.target_batch // devices}
        )
        for stage in recipe.train.stages
    ]
    return with_stages(recipe, stages, devices=1, nodes=1)


def with_stages(recipe: Recipe, stages: list[Stage], **more: Any) -> Recipe:
    """Replace the stages of a recipe.

    Args:
        recipe: the resolved recipe.
        stages: the new ones.
        more: other settings of `train`.

    Returns:
        The new recipe.
    """
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"stages": tuple(stages), **more})})


def peak_memory() -> int:
    """Measure the most memory that this process has held.

    Returns:
        Bytes.

    Raises:
        TrainingError: on Windows.
    """
    if sys.platform == "win32":
        raise TrainingError(
            "--find-batch and --dry-run: Windows has no getrusage to count memory; use Linux, macOS or WSL 2"
        )
    import resource  # POSIX alone has it

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine_memory() -> int:
    """Look up the memory of the machine.

    Returns:
        Bytes.
    """
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def find_rate(recipe: Recipe, domains: Domains) -> Iterator[str]:
    """Run the learning-rate range test (arXiv 1506.01186): the rate rises at each step until the loss does too.

    Args:
        recipe: the resolved recipe.
        domains: the segments.

    Yields:
        Lines: some rates with their smoothed loss, then the rate at which it falls fastest.

    Raises:
        TrainingError: the first steps are not finite already.
    """
    stages = [recipe.train.stages[0].model_copy(update={"steps": RATE_STEPS}), *recipe.train.stages[1:]]
    trial = start_trial(with_stages(recipe, stages), domains)
    rates, losses = [], []
    for number, batch in enumerate(trial.batches(0, RATE_STEPS)):
        rate = LOWEST_RATE * (HIGHEST_RATE / LOWEST_RATE) ** (number / (RATE_STEPS - 1))
        flat = trial.recipe.train.stages[0].model_copy(
            update={"learning_rate": rate, "schedule": "constant", "warmup_steps": 0}
        )
        try:
            losses.append(float(trial.step(flat, number, batch)["loss_classification"]))
        except NotFiniteError as error:
            if len(losses) < 2:
                raise TrainingError(
                    f"--find-lr has nothing to compare: at a learning rate of {rate:.1e} already, {error}\n"
                    "A rate hardly matters so early: look at the clips, the loss and the weights it starts from"
                ) from error
            break
        rates.append(rate)
        smooth = _smoothed(losses)
        if smooth[-1] > DIVERGED * min(smooth):
            break
    smooth = _smoothed(losses)
    yield "learning rate   loss (_smoothed)"
    for row in range(0, len(rates), max(len(rates) // 20, 1)):
        yield f"{rates[row]:13.2e}   {smooth[row]:.4f}"
    chosen = _steepest(rates, smooth)
    end = "the loss grew" if len(rates) < RATE_STEPS else "the highest rate was reached"
    yield f"{end} at {rates[-1]:.1e}; the loss falls fastest at {chosen:.1e}"
    yield f"try train.stages.0.learning_rate={chosen:.1e}"
    yield "one batch a rate is a noisy test: take the order of magnitude, not the digits; nothing was written"


def _smoothed(losses: list[float]) -> list[float]:
    """Exponential moving average with the start's bias taken out."""
    average, made = 0.0, []
    for number, loss in enumerate(losses, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        made.append(average / (1 - SMOOTHING**number))
    return made


def _steepest(rates: list[float], losses: list[float]) -> float:
    """The rate at which the loss falls most over a tenth of the test, among those before its minimum."""
    window = max(len(rates) // 10, 1)
    lowest = max(losses.index(min(losses)), window)
    falls = [losses[row] - losses[row + window] for row in range(lowest - window + 1)]
    place = falls.index(max(falls))
    return math.sqrt(rates[place] * rates[place + window])


def find_batch(recipe: Recipe, domains: Domains) -> Iterator[str]:
    """Double the batch until the device's memory is full, with one step each on clips of the recipe's shape.

    Args:
        recipe: the resolved recipe.
        domains: the segments.

    Yields:
        A line for each size, then the largest that went through.
    """
    trial = start_trial(recipe, domains)
    index = max(range(len(recipe.train.stages)), key=lambda i: recipe.train.stages[i].target_batch)
    stage = trial.recipe.train.stages[index].model_copy(update={"learning_rate": 1e-12})
    real = next(trial.batches(index, 1))
    unit = _batch_unit(trial.recipe)
    largest, size, before = 0, unit, float(peak_memory())
    while size <= max(len(domains.source), unit):
        took = _timed_step(trial, stage, index, _repeat_clips(real, size, stage.target_batch / stage.source_batch))
        if took is None:
            yield f"{size:6d} labelled clips per step: out of memory"
            break
        used = _used_memory(trial.fabric.device)
        largest = size
        yield f"{size:6d} labelled clips per step: {took:.2f} s, {size / took:.1f} clips/s, {used / GIGA:.2f} GiB"
        on_cpu = trial.fabric.device.type == "cpu"
        if on_cpu and (took > LONG_STEP or used + 2 * (used - before) > MEMORY_SHARE * machine_memory()):
            yield "twice as many would take long, or more memory than is free: stopped here"
            break
        before, size = used, 2 * size
    meant = recipe.train.rate_batch or recipe.train.stages[index].source_batch
    yield f"largest on this device: {largest}; the recipe takes {stage.source_batch} per device"
    yield f"with another batch, train.rate_batch={meant} keeps the learning rates' meaning; nothing was written"


def _batch_unit(recipe: Recipe) -> int:
    """Smallest batch of which every larger one is a multiple."""
    sets = recipe.adaptation.set_size
    return math.lcm(2, recipe.train.accumulate, recipe.train.sampling.repeats, sets)


def _repeat_clips(real: Batch, size: int, target_share: float) -> Batch:
    """A batch of another size: the real clips, over and over."""
    source, target = real.source, real.target
    target_size = round(size * target_share)
    return Batch(
        source.rows([row % len(source.narration_ids) for row in range(size)]),
        target and target.rows([row % len(target.narration_ids) for row in range(target_size)]),
    )


def _timed_step(trial: Trial, stage: Stage, index: int, batch: Batch) -> float | None:
    """Seconds of a step; None where the device's memory did not suffice."""
    if trial.fabric.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    try:
        trial.step(stage, 0, batch, index)
        if trial.fabric.device.type == "cuda":
            torch.cuda.synchronize()
    except torch.OutOfMemoryError:
        return None
    return time.perf_counter() - began


def _used_memory(device: torch.device) -> float:
    """Peak bytes of the device; on a CPU of this process."""
    return float(torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory())
