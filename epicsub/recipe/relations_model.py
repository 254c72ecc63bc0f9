"""Settings of `model` that must fit each other and the data."""

from collections.abc import Iterator

from epicsub.recipe.settings import Settings
from epicsub.recipe.yaml_tree import Problem, shown

I3D_MIN_FRAMES = 9  # below, three stride-2 layers leave a time of 1 for a pool of 2


VARIANTS = {
    "slowfast": ("r50", "r101", "tiny"),
    "x3d": ("xs", "s", "m", "l", "tiny"),
    "i3d_r50": ("r50", "tiny"),
    "r2plus1d": ("18", "tiny"),
    "mvit_v2": ("s", "tiny"),
    "video_swin": ("t", "s", "b", "tiny"),
    "timesformer": ("base", "large", "tiny"),
    "videomae": ("small", "base", "large", "tiny"),
}
"""Sizes of each video network that there are."""


def _i3d_frames(settings: Settings) -> Iterator[Problem]:
    frames = settings["data.frames"]
    if settings["model.name"] == "i3d" and frames is not None and frames < I3D_MIN_FRAMES:
        text = f"is {frames}, must be at least {I3D_MIN_FRAMES}: i3d halves time three times and pools what is left"
        yield Problem("data.frames", text)


def _weights_of_modalities(settings: Settings) -> Iterator[Problem]:
    if settings["model.name"] not in ("i3d", *VARIANTS):
        return
    weights, modalities = settings["model.weights"], settings["data.modalities"]
    for modality in modalities:
        if modality not in weights:
            text = "missing, data.modalities has it: write a name, a file, or null for random weights"
            yield Problem(f"model.weights.{modality}", text)
    for modality in weights:
        if modality not in modalities:
            text = f"is {shown(weights[modality])}, but data.modalities has no {modality}: leave it out"
            yield Problem(f"model.weights.{modality}", text)


def _video_variant(settings: Settings) -> Iterator[Problem]:
    name = settings["model.name"]
    if name in VARIANTS and settings["model.variant"] not in VARIANTS[name]:
        text = (
            f"is {shown(settings['model.variant'])}, must be one of {', '.join(VARIANTS[name])} for model.name {name}"
        )
        yield Problem("model.variant", text)


MODEL_RELATIONS = (
    _i3d_frames,
    _weights_of_modalities,
    _video_variant,
)
