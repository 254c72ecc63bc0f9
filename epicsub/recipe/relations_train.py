"""Settings of `train` that must fit each other."""

from collections.abc import Iterator

from epicsub.recipe.relations_adaptation import NO_TARGET
from epicsub.recipe.settings import Settings
from epicsub.recipe.yaml_tree import Problem, shown

MEAN_EVERY = 50
"""Default of train.mean_every."""


def _selection(settings: Settings) -> Iterator[Problem]:
    select, every = settings["train.select"], settings["train.evaluate_every"]
    if select != "last" and every is None:
        text = f"is {shown(select)}, which needs train.evaluate_every: write its steps, or select last"
        yield Problem("train.select", text)


def _mean_of_last(settings: Settings) -> Iterator[Problem]:
    count, every = settings["train.mean_of_last"], settings["train.mean_every"]
    if count is None:
        if every != MEAN_EVERY:
            yield Problem("train.mean_every", f"is {every}, but train.mean_of_last is null: leave it out")
        return
    total = sum(settings[f"train.stages.{stage}.steps"] for stage in settings.stages())
    first = total - (count - 1) * every
    if first < 1:
        text = f"is {count}, evaluations every {every} steps would begin {1 - first} steps before the run's {total} do"
        yield Problem("train.mean_of_last", f"{text}: write fewer, or a smaller train.mean_every")


def _precision(settings: Settings) -> Iterator[Problem]:
    precision, accelerator = settings["train.precision"], settings["train.accelerator"]
    if precision == "16-mixed" and accelerator == "cpu":
        yield Problem("train.precision", f"is {shown(precision)}, must be bf16-mixed or 32-true on a cpu")


def _average(settings: Settings) -> Iterator[Problem]:
    if settings["train.average"] is None:
        return
    name, start = settings["train.average.name"], settings["train.average.start"]
    owned = {"ema": ("decay",), "swa": ("start", "every")}
    for other, keys in owned.items():
        for key in keys:
            found = settings[f"train.average.{key}"]
            if other != name and found is not None:
                text = f"is {shown(found)}, but only average {other} has it: leave it out"
                yield Problem(f"train.average.{key}", text)
    if name == "swa" and start is None:
        yield Problem("train.average.start", "missing, swa needs the step after which weights count")
    total = sum(settings[f"train.stages.{stage}.steps"] for stage in settings.stages())
    if name == "swa" and start is not None and start >= total:
        yield Problem("train.average.start", f"is {start}, must be below the run's steps ({total})")


def _parts(settings: Settings) -> Iterator[Problem]:
    names = [settings[f"train.parts.{index}.name"] for index in range(len(settings["train.parts"]))]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(f"train.parts.{index}.name", f"is {shown(name)}, which stands there twice")
        steps, devices = settings[f"train.parts.{index}.frozen_steps"], settings["train.devices"]
        if steps and devices > 1:
            text = (
                f"is {steps}, but {devices} devices share gradients as the run begins: write 0, or null for all steps"
            )
            yield Problem(f"train.parts.{index}.frozen_steps", text)
        rate = settings[f"train.parts.{index}.rate"]
        if steps is None and rate != 1:
            text = f"is {shown(rate)}, but frozen_steps null keeps the part still for the whole run: leave it out"
            yield Problem(f"train.parts.{index}.rate", text)


def _class_weight(settings: Settings) -> Iterator[Problem]:
    weight = settings["train.class_weight"]
    if weight != 1 and not any(settings[f"train.stages.{stage}.target_batch"] for stage in settings.stages()):
        text = (
            f"is {shown(weight)}, but no stage has a target_batch: the classification loss stands alone, leave it out"
        )
        yield Problem("train.class_weight", text)


def _accumulate(settings: Settings) -> Iterator[Problem]:
    accumulate, method = settings["train.accumulate"], settings["adaptation.method"]
    if accumulate > 1 and method not in NO_TARGET:
        text = f"is {accumulate}, but adaptation.method {method} needs all clips of a step at once: write 1"
        yield Problem("train.accumulate", text)


def _patience(settings: Settings) -> Iterator[Problem]:
    select = settings["train.select"]
    for key in ("patience", "margin"):
        found = settings[f"train.{key}"]
        if found and select == "last":
            yield Problem(f"train.{key}", f"is {shown(found)}, but train.select last compares no scores: name a score")
    method, patience = settings["adaptation.method"], settings["train.patience"]
    if patience and select != "last" and method not in NO_TARGET:
        text = f"is {patience}, but adaptation.method {method} ends with its last step: leave it out"
        yield Problem("train.patience", text)
    last = settings["train.mean_of_last"]
    if patience and last:
        yield Problem(
            "train.patience", f"is {patience}, but train.mean_of_last ({last}) is of the last steps: choose one"
        )


def _compile(settings: Settings) -> Iterator[Problem]:
    if settings["train.compile"] and settings["train.activation_checkpointing"]:
        text = "is true, but train.compile chooses itself what to compute again: write false for one of them"
        yield Problem("train.activation_checkpointing", text)


def _stage_accumulate(settings: Settings, stage: str) -> Iterator[Problem]:
    accumulate, devices, batch = settings["train.accumulate"], settings["train.devices"], f"{stage}.source_batch"
    if accumulate > 1 and settings[batch] % (accumulate * devices):
        text = f"is {settings[batch]}, must be a multiple of train.accumulate x train.devices ({accumulate * devices})"
        yield Problem(batch, text)


def _stage_warmup(settings: Settings, stage: str) -> Iterator[Problem]:
    warmup, steps = settings[f"{stage}.warmup_steps"], settings[f"{stage}.steps"]
    if warmup >= steps:
        yield Problem(f"{stage}.warmup_steps", f"is {warmup}, must be below the stage's steps ({steps})")


TRAIN_RELATIONS = (
    _selection,
    _mean_of_last,
    _precision,
    _average,
    _parts,
    _class_weight,
    _accumulate,
    _patience,
    _compile,
)
TRAIN_STAGE_RELATIONS = (_stage_warmup, _stage_accumulate)
