"""An estimate of a run before it starts (`--dry-run`): parameters, memory and hours.

Clips are read, a step is counted, and where it is not too long for this device, a few are tried. Nothing is written.
"""

import math
import time
from collections.abc import Iterator
from itertools import chain, pairwise

import torch
from torch import nn

from epicsub.data.batch import Batch
from epicsub.errors import TrainingError
from epicsub.recipe import Recipe, Stage
from epicsub.training.build import adaptation_of
from epicsub.training.count import Work, clip_work, weightless_model, work_of
from epicsub.training.find import (
    GIGA,
    LONG_STEP,
    MEMORY_SHARE,
    Trial,
    first_batches,
    machine_memory,
    on_one_device,
    peak_memory,
    start_trial,
    with_stages,
)
from epicsub.training.layers import batch_norms
from epicsub.training.loaders import Domains
from epicsub.training.processes import make_fabric

TIMED_STEPS = 3
TRIED_STEP = 2.0  # seconds that a step may take on a CPU by its arithmetic alone; really it takes several times as long
STATES = {"sgd": 1, "adam": 2, "adamw": 2}
"""Numbers per weight that an optimiser holds."""
DEVICE_SIZES = (24, 40, 80)  # GB of the GPUs that labs have
DEVICE_COUNTS = (1, 2, 4, 8)
SIDE = 1024  # of the matrices whose product tells a CPU's speed


def dry_run(recipe: Recipe, domains: Domains) -> Iterator[str]:
    """Read clips, count a step of each stage, try some, and estimate the whole run.

    Args:
        recipe: the resolved recipe.
        domains: the segments.

    Yields:
        Lines: parameters, shapes, memory, arithmetic, and for each stage its steps, clips and hours on this machine.

    Raises:
        TrainingError: the device's memory does not suffice.
    """
    small = on_one_device(recipe)
    fabric = make_fabric(recipe.train, alone=True)
    model = weightless_model(small, domains.source)
    yield from _parameter_lines(small, fabric.device, model)
    batch, seconds = _few_clips(small, domains)
    clips = batch.source.clips
    size = small.train.stages[0].source_batch
    shapes = ", ".join(f"{name} {(size, *clip.shape[1:])}" for name, clip in clips.items())
    yield f"clips per step: {shapes}; one is read and cut in {seconds:.2f} s"
    per_clip = clip_work(model, clips)
    works = [work_of(small, model, stage, per_clip) for stage in small.train.stages]
    yield from _work_lines(recipe, works, _held_bytes(recipe, model))
    speed = None if fabric.device.type != "cpu" else cpu_speed()
    if speed and (
        max(work.operations for work in works) / speed > TRIED_STEP
        or max(work.kept for work in works) > MEMORY_SHARE * machine_memory()
    ):
        yield from _counted_stages(recipe, domains, works, speed)
    else:
        yield from _tried_stages(recipe, domains)


def _parameter_lines(recipe: Recipe, device: torch.device, model: nn.Module) -> Iterator[str]:
    """Parameters, and the bytes that they, their gradients and the optimiser take."""
    count = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    yield f"device: {device}, precision {recipe.train.precision}"
    yield f"parameters: {count / 1e6:.2f} million, {trained / 1e6:.2f} million trained from the first step"
    yield f"weights, gradients and optimiser: {_held_bytes(recipe, model) / GIGA:.2f} GiB"
    yield from _method_lines(recipe, model)
    if recipe.train.accumulate > 1 and any(True for _ in batch_norms(model)):
        yield (
            f"train.accumulate {recipe.train.accumulate}: batch norms see a part of a step's clips at a time, "
            "so this equals the whole batch in all but their statistics"
        )


def _held_bytes(recipe: Recipe, model: nn.Module) -> int:
    """Bytes of weights, their average, gradients and the optimiser's state."""
    count = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    of_optimiser = STATES[recipe.train.optimizer.name]
    return 4 * (count + trained * (1 + of_optimiser) + (count if recipe.train.average else 0))


def _method_lines(recipe: Recipe, model: nn.Module) -> Iterator[str]:
    """What an adaptation method has of its own: networks, copies of them, pools. Nothing where it has none."""
    with torch.device("meta"):
        method = adaptation_of(recipe, model)
    if method is None or not (tensors := list(chain(method.parameters(), method.buffers()))):
        return
    with_model = sum(parameter.numel() for parameter in method.alignment_parameters())
    apart = sum(parameter.numel() for parameter in method.agent_parameters())
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    held += 4 * (
        with_model * (1 + STATES[recipe.train.optimizer.name]) + 2 * apart
    )  # gradients, and agents' SGD with momentum
    count = sum(parameter.numel() for parameter in method.parameters())
    yield (
        f"{recipe.adaptation.method}: {count / 1e6:.2f} million parameters of its own, "
        f"{(with_model + apart) / 1e6:.2f} million trained; {held / GIGA:.2f} GiB with gradients and optimisers"
    )


def _few_clips(recipe: Recipe, domains: Domains) -> tuple[Batch, float]:
    """A clip of each domain that the recipe trains on, read here and now, and the seconds that one took."""
    stages = list(recipe.train.stages)
    index = max(range(len(stages)), key=lambda number: stages[number].target_batch)
    target = int(stages[index].target_batch > 0)
    stages[index] = stages[index].model_copy(
        update={"source_batch": recipe.train.sampling.repeats, "target_batch": target}
    )
    data = recipe.data.model_copy(update={"workers": 0})
    began = time.perf_counter()
    batch = next(first_batches(with_stages(recipe, stages).model_copy(update={"data": data}), domains, index, 1))
    clips = sum(len(part.narration_ids) for part in batch.by_domain().values())
    return batch, (time.perf_counter() - began) / clips


def _work_lines(recipe: Recipe, works: list[Work], held: int) -> Iterator[str]:
    """Memory for the backward pass, and arithmetic of a step and of the whole run."""
    most = max(works, key=lambda work: work.kept)
    half = ""
    if recipe.train.precision != "32-true":
        half = f", about {most.kept_in_half / GIGA:.2f} GiB in {recipe.train.precision}"
        half += f" ({most.whole / GIGA:.2f} GiB are whole numbers, which do not halve)" if most.whole else ""
    every = recipe.train.activation_checkpointing is True
    less = " with every layer kept; train.activation_checkpointing keeps less" * every
    yield f"kept for the backward pass: at most {most.kept / GIGA:.2f} GiB per device at 32 bits{half}{less}"
    need = most.kept if recipe.train.precision == "32-true" else most.kept_in_half
    fits = ", ".join(f"{size} GB {'yes' if need + held < size * 1e9 else 'no'}" for size in DEVICE_SIZES)
    yield f"with weights, gradients and optimiser at least {(need + held) / GIGA:.2f} GiB per device; fits {fits}"
    steps = [stage.length for stage in recipe.train.stages]
    whole = recipe.train.processes * sum(n * work.operations for n, work in zip(steps, works, strict=True))
    each = ", ".join(_format_operations(work.operations) for work in works)
    yield f"operations per step: {each} per device; {_format_operations(whole)} for the whole run"


def cpu_speed() -> float:
    """Time a large matrix product on the CPU.

    Returns:
        Operations per second, which no network reaches.
    """
    factor, seconds = torch.rand(SIDE, SIDE), []
    for _ in range(3):
        began = time.perf_counter()
        torch.mm(factor, factor)
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 / min(seconds)


def _counted_stages(recipe: Recipe, domains: Domains, works: list[Work], speed: float) -> Iterator[str]:
    """Stages whose steps are too long or too large to try on this CPU."""
    hours = 0.0
    for index, (stage, work) in enumerate(zip(recipe.train.stages, works, strict=True)):
        seconds = work.operations / speed
        hours += stage.length * seconds / 3600
        yield f"{_stage_line(index, stage, domains)}; at least {seconds:.1f} s per step"
    yield (
        f"no step was tried: {speed / 1e9:.0f} GFLOP/s, this CPU's in a large matrix product, are more than a network "
        "reaches. Ask again on the device that will train"
    )
    yield f"more than {format_hours(hours)} in total on this machine, without evaluations; nothing was written"


def _tried_stages(recipe: Recipe, domains: Domains) -> Iterator[str]:
    """Stages with the seconds that a few of their steps took, on the recipe's own batches."""
    trial, hours = start_trial(recipe, domains), 0.0
    for index, stage in enumerate(trial.recipe.train.stages):
        try:
            seconds, waited, steps = _timed_steps(trial, index, stage)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"stage {index + 1}: a step of {stage.source_batch} labelled and {stage.target_batch} unlabelled clips "
                f"does not fit into the memory of {trial.fabric.device}; --find-batch says what does. Or set "
                "train.accumulate, train.activation_checkpointing, or train.precision"
            ) from error
        whole = stage.length * seconds / 3600
        hours += whole
        yield (
            f"{_stage_line(index, recipe.train.stages[index], domains)}; {seconds:.2f} s per step from {steps} steps "
            f"({100 * waited:.0f} % of it waiting for clips), {format_hours(whole)}"
        )
    yield _memory_line(trial.fabric.device)
    yield _time_line(hours, recipe.train.processes)
    yield f"{format_hours(hours)} in total on this machine, without evaluations; nothing was written"


def _time_line(hours: float, processes: int) -> str:
    """Hours on several devices like this one, and the time to ask Slurm for."""
    each = ", ".join(f"{count}: {format_hours(hours * processes / count)}" for count in DEVICE_COUNTS)
    asked = max(1, math.ceil(1.25 * hours))
    return (
        f"on devices like this one, what they tell each other left out (docs/cluster.md): {each}; ask for --time="
        f"{asked}:00:00 (a quarter more), or less: slurm/train.sbatch queues itself again"
    )


def _stage_line(index: int, stage: Stage, domains: Domains) -> str:
    """How much of the data a stage sees."""
    clips = stage.length * stage.source_batch
    share = clips / len(domains.source)
    unlabelled = f", {stage.length * stage.target_batch} unlabelled" if stage.target_batch else ""
    return (
        f"stage {index + 1}: {stage.length} steps, {clips} labelled clips, {share:.1f} times each segment{unlabelled}"
    )


def _timed_steps(trial: Trial, index: int, stage: Stage) -> tuple[float, float, int]:
    """Seconds per step, share of them spent waiting for clips, and how many steps were timed.

    The first step is left out of the mean (it opens videos and tunes kernels) unless it is so long that it is all.
    """
    marks, waits = [time.perf_counter()], []
    for number, batch in enumerate(trial.batches(index, min(1 + TIMED_STEPS, stage.length))):
        waits.append(time.perf_counter() - marks[-1])
        trial.step(stage, number, batch, index)
        if trial.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        marks.append(time.perf_counter())
        if marks[1] - marks[0] > LONG_STEP:
            break
    seconds = [after - before for before, after in pairwise(marks)]
    first = 1 if len(seconds) > 1 else 0
    total = sum(seconds[first:])
    return total / len(seconds[first:]), sum(waits[first:]) / total, len(seconds[first:])


def _memory_line(device: torch.device) -> str:
    """The most memory that was in use."""
    if device.type == "cuda":
        whole = torch.cuda.mem_get_info(device)[1]
        return f"memory: {torch.cuda.max_memory_allocated(device) / GIGA:.2f} GiB of the device's {whole / GIGA:.1f}"
    return f"memory: {peak_memory() / GIGA:.2f} GiB in this process of the machine's {machine_memory() / GIGA:.1f}"


def _format_operations(count: float) -> str:
    """Operations with a prefix."""
    for power, prefix in ((18, "E"), (15, "P"), (12, "T")):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {prefix}FLOP"
    return f"{count / 1e9:.1f} GFLOP"


def format_hours(hours: float) -> str:
    """Write a time in words.

    Args:
        hours: any number.

    Returns:
        Hours, or minutes where they are few.
    """
    return f"{hours:.1f} hours" if hours >= 2 else f"{60 * hours:.1f} minutes"
