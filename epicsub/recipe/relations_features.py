"""Settings of recipes on features, and those that recipes on videos alone have."""

from collections.abc import Callable, Iterator

from epicsub.recipe.schema_data import Data
from epicsub.recipe.settings import Settings
from epicsub.recipe.yaml_tree import Problem, shown

VIDEO_NEEDS = ("frames", "sampling", "short_side", "size", "augment")
VIDEO_ALONE = (*VIDEO_NEEDS, "stride", "context", "synchronised", "store", "decoder", "workers")
READ_FEATURES = ("feature_heads", "temporal_relations")
"""Models on features; all others read videos."""
ALIGNS_NOTHING = ("source_only", "supervised")
"""Methods that train heads on features as they are."""


def _given(key: str) -> Callable[[Settings], Iterator[Problem]]:
    field = Data.model_fields[key]

    def relation(settings: Settings) -> Iterator[Problem]:
        value, features = settings[f"data.{key}"], settings["data.features"]
        if features is None and key in VIDEO_NEEDS and value is None:
            purpose = (field.description or "").removesuffix(".")
            yield Problem(f"data.{key}", f"missing, it must be given: {purpose}")
        if features is not None and value != field.default:
            yield Problem(f"data.{key}", f"is {shown(value)}, but data.features has no video to cut: leave it out")

    return relation


def _model(settings: Settings) -> Iterator[Problem]:
    name, features = settings["model.name"], settings["data.features"]
    if features is not None and name not in READ_FEATURES:
        yield Problem("model.name", f"is {name}, which reads videos: data.features needs {' or '.join(READ_FEATURES)}")
    if features is None and name in READ_FEATURES:
        yield Problem("data.features", f"missing, model.name {name} reads features: name their folder or file")


def _audio(settings: Settings) -> Iterator[Problem]:
    if settings["data.features"] is None:
        for index, modality in enumerate(settings["data.modalities"]):
            if modality == "audio":
                yield Problem(f"data.modalities.{index}", "is audio, which is read from data.features alone")


def _places(settings: Settings) -> Iterator[Problem]:
    features = settings["data.features"]
    if isinstance(features, dict):
        yield from _of_modalities(settings, "data.features", list(features), "name its features")


def _dims(settings: Settings) -> Iterator[Problem]:
    if settings["model.name"] in READ_FEATURES:
        named = list(settings["model.dims"])
        yield from _of_modalities(settings, "model.dims", named, "write the length of its vectors")


def _of_modalities(settings: Settings, key: str, named: list[str], advice: str) -> Iterator[Problem]:
    modalities = settings["data.modalities"]
    for modality in modalities:
        if modality not in named:
            yield Problem(f"{key}.{modality}", f"missing, data.modalities has it: {advice}")
    for modality in named:
        if modality not in modalities:
            yield Problem(f"{key}.{modality}", f"is given, but data.modalities has no {modality}: leave it out")


def _bottleneck(settings: Settings) -> Iterator[Problem]:
    if settings["model.name"] != "feature_heads" or settings["model.bottleneck"] is not None:
        return
    method = settings["adaptation.method"]
    if method not in ALIGNS_NOTHING:
        text = f"is null, so adaptation.method {method} has nothing to change: give the layer that it aligns its units"
        yield Problem("model.bottleneck", text)
    if settings["model.batch_norm"]:
        yield Problem("model.batch_norm", "is true, but model.bottleneck is null: leave it out")


def _views(settings: Settings) -> Iterator[Problem]:
    views = settings["evaluation.views"]
    if settings["data.features"] is not None and views != "1x1":
        yield Problem("evaluation.views", f"is {shown(views)}, but data.features were made of their views: write 1x1")


GIVEN_RELATIONS = tuple(_given(key) for key in VIDEO_ALONE)
"""First, so that a setting that is missing is one problem."""
FEATURE_RELATIONS = (
    _model,
    _audio,
    _places,
    _dims,
    _bottleneck,
    _views,
)
