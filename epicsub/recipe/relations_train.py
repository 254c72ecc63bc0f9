"""Settings of `train` that must fit each other."""

from collections.abc import Iterator

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


def _stage_warmup(settings: Settings, stage: str) -> Iterator[Problem]:
    warmup, steps = settings[f"{stage}.warmup_steps"], settings[f"{stage}.steps"]
    if warmup >= steps:
        yield Problem(f"{stage}.warmup_steps", f"is {warmup}, must be below the stage's steps ({steps})")


TRAIN_RELATIONS = (
    _selection,
    _mean_of_last,
    _precision,
)
TRAIN_STAGE_RELATIONS = (_stage_warmup,)
