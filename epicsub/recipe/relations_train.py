"""Settings of `train` that must fit each other."""

from collections.abc import Iterator

from epicsub.recipe.settings import Settings
from epicsub.recipe.yaml_tree import Problem, shown


def _selection(settings: Settings) -> Iterator[Problem]:
    select, every = settings["train.select"], settings["train.evaluate_every"]
    if select != "last" and every is None:
        text = f"is {shown(select)}, which needs train.evaluate_every: write its steps, or select last"
        yield Problem("train.select", text)


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
    _precision,
)
TRAIN_STAGE_RELATIONS = (_stage_warmup,)
