"""Settings of `data` that must fit each other."""

from collections.abc import Iterator

from epicsub.recipe.settings import Settings
from epicsub.recipe.yaml_tree import Problem, shown


def _stride(settings: Settings) -> Iterator[Problem]:
    sampling, stride = settings["data.sampling"], settings["data.stride"]
    if sampling == "dense" and stride is None:
        yield Problem("data.stride", "missing, dense sampling needs the seconds between two frames, e.g. 0.0333333")
    if sampling == "uniform" and stride is not None:
        yield Problem("data.stride", f"is {shown(stride)}, but uniform sampling has no stride: leave it out")


def _context(settings: Settings) -> Iterator[Problem]:
    if settings["data.context"] > 0 and settings["data.sampling"] == "uniform":
        text = "but uniform sampling spreads the frames over the segment, however short: leave it out"
        yield Problem("data.context", f"is {shown(settings['data.context'])}, {text}")


def _size(settings: Settings) -> Iterator[Problem]:
    size, short_side = settings["data.size"], settings["data.short_side"]
    if None not in (size, short_side) and size > short_side:
        yield Problem("data.size", f"is {size}, must be at most data.short_side ({short_side})")


def _crop(settings: Settings) -> Iterator[Problem]:
    crop = settings["data.augment.crop"]
    for name, owner in (("scales", "scale_jitter"), ("area", "random_resized")):
        value = settings[f"data.augment.{name}"]
        if crop == owner and value is None:
            yield Problem(f"data.augment.{name}", f"missing, crop {crop} needs it")
        if crop != owner and value is not None:
            yield Problem(f"data.augment.{name}", f"is {shown(value)}, but only crop {owner} has it: leave it out")


def _area(settings: Settings) -> Iterator[Problem]:
    area = settings["data.augment.area"]
    if area is not None and area[0] > area[1]:
        yield Problem("data.augment.area", f"is {shown(list(area))}, must be [smallest, largest]")


def _color_jitter(settings: Settings) -> Iterator[Problem]:
    jitter, modalities = settings["data.augment.color_jitter"], settings["data.modalities"]
    if jitter > 0 and "rgb" not in modalities:
        yield Problem("data.augment.color_jitter", f"is {shown(jitter)}, but data.modalities has no rgb: write 0")


def _rand_augment(settings: Settings) -> Iterator[Problem]:
    if settings["data.augment.rand_augment"] is not None and "rgb" not in settings["data.modalities"]:
        yield Problem("data.augment.rand_augment", "changes rgb alone, but data.modalities has no rgb: leave it out")


def _no_list_twice(settings: Settings) -> Iterator[Problem]:
    for key in ("data.modalities", "data.source", "data.target"):
        items = settings[key]
        for index, item in enumerate(items):
            if item in items[:index]:
                yield Problem(f"{key}.{index}", f"is {shown(item)}, which stands there twice")


def _domains_apart(settings: Settings) -> Iterator[Problem]:
    source = settings["data.source"]
    for index, item in enumerate(settings["data.target"]):
        if item in source:
            yield Problem(f"data.target.{index}", f"is {shown(item)}, which data.source has too")


DATA_RELATIONS = (
    _stride,
    _context,
    _size,
    _crop,
    _area,
    _color_jitter,
    _rand_augment,
    _no_list_twice,
    _domains_apart,
)
