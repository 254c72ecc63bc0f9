"""Settings of `train.losses`, `train.sampling` and `train.mixing` that must fit each other."""

from collections.abc import Iterator

from epicsub.recipe.relations_adaptation import NO_TARGET
from epicsub.recipe.settings import Settings
from epicsub.recipe.yaml_tree import Problem, shown

HEADS = ("verb", "noun")
OWNERS = {  # setting -> (key that must have the value, value)
    "gamma": ("name", "focal"),
    "tau": ("name", "logit_adjusted"),
    "tail_share": ("name", "equalised"),
    "ignore": ("name", "equalised"),
    "beta": ("class_weights", "effective_number"),
}


def _owned(settings: Settings) -> Iterator[Problem]:
    for head in HEADS:
        for name, (owner, value) in OWNERS.items():
            key, found = f"train.losses.{head}.{name}", settings[f"train.losses.{head}.{name}"]
            if found is not None and settings[f"train.losses.{head}.{owner}"] != value:
                yield Problem(key, f"is {shown(found)}, but only {owner} {value} has it: leave it out")


def _corrections(settings: Settings) -> Iterator[Problem]:
    """Two settings of one head that would correct for the same imbalance, or that no paper defines together."""
    for head in HEADS:
        key = f"train.losses.{head}"
        loss, weights = settings[f"{key}.name"], settings[f"{key}.class_weights"]
        if loss in ("logit_adjusted", "equalised") and weights != "none":
            text = f"is {weights}, but {loss} corrects for rare classes already: write none"
            yield Problem(f"{key}.class_weights", text)
        if loss in ("focal", "equalised") and settings[f"{key}.label_smoothing"]:
            smoothing = shown(settings[f"{key}.label_smoothing"])
            yield Problem(f"{key}.label_smoothing", f"is {smoothing}, but {loss} has no smoothed form: write 0")


def _balance(settings: Settings) -> Iterator[Problem]:
    balance, by = settings["train.sampling.balance"], settings["train.sampling.by"]
    if balance == "none" and by is not None:
        yield Problem("train.sampling.by", f"is {shown(by)}, but train.sampling.balance is none: leave it out")
    if balance != "none" and by is None:
        yield Problem("train.sampling.by", f"missing, balance {balance} needs what to balance: verb, noun or action")


def _balanced_twice(settings: Settings) -> Iterator[Problem]:
    balance, by = settings["train.sampling.balance"], settings["train.sampling.by"]
    for head in HEADS:
        loss, weights = settings[f"train.losses.{head}.name"], settings[f"train.losses.{head}.class_weights"]
        corrects = weights if weights != "none" else loss if loss in ("logit_adjusted", "equalised") else None
        if balance != "none" and by in (head, "action") and corrects:
            text = f"is {balance} by {by}, but train.losses.{head} corrects for rare classes by {corrects}: choose one"
            yield Problem("train.sampling.balance", text)


def _mixing(settings: Settings) -> Iterator[Problem]:
    if settings["train.mixing"] is None:
        return
    if not settings["train.mixing.mixup"] and not settings["train.mixing.cutmix"]:
        yield Problem(
            "train.mixing", "mixes nothing: give mixup or cutmix an alpha, e.g. 0.8, or leave the section out"
        )
    if settings["train.mixing.cutmix"] and settings["data.features"] is not None:
        text = f"is {shown(settings['train.mixing.cutmix'])}, but features have no picture to cut: write 0"
        yield Problem("train.mixing.cutmix", text)
    method = settings["adaptation.method"]
    if method not in NO_TARGET:
        text = f"is set, but adaptation.method {method} would tell the domains by it: the target is not mixed"
        yield Problem("train.mixing", text)


def _stage_repeats(settings: Settings, stage: str) -> Iterator[Problem]:
    repeats, batch = settings["train.sampling.repeats"], settings[f"{stage}.source_batch"]
    if batch % repeats:
        yield Problem(f"{stage}.source_batch", f"is {batch}, must be a multiple of train.sampling.repeats ({repeats})")


def _stage_mixing(settings: Settings, stage: str) -> Iterator[Problem]:
    batch, devices = settings[f"{stage}.source_batch"], settings["train.devices"]
    if settings["train.mixing"] is not None and batch // devices < 2:
        yield Problem(f"{stage}.source_batch", f"is {batch}, but train.mixing mixes a clip with another of its device")
    repeats = settings["train.sampling.repeats"]
    of_one = batch % repeats == 0 and devices % (batch // repeats) == 0  # processes take the step's draws in turn
    if settings["train.mixing"] is not None and batch // devices >= 2 and of_one:
        text = f"is {batch}, but train.sampling.repeats {repeats} makes a device's clips one segment, mixed with itself"
        yield Problem(f"{stage}.source_batch", f"{text}: write a larger batch")


def _without_nouns(settings: Settings) -> Iterator[Problem]:
    if settings["classes.nouns"]:
        return
    if settings["train.losses.action"] is not None:
        yield Problem("train.losses.action", "is set, but classes.nouns is false: there are no actions, leave it out")
    by = settings["train.sampling.by"]
    if by in ("noun", "action"):
        yield Problem("train.sampling.by", f"is {shown(by)}, but classes.nouns is false: write verb")


LOSS_RELATIONS = (_without_nouns, _owned, _corrections, _balance, _balanced_twice, _mixing)
LOSS_STAGE_RELATIONS = (_stage_repeats, _stage_mixing)
