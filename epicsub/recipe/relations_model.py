"""Settings of `model` that must fit each other and the data."""

from collections.abc import Iterator

from epicsub.recipe.settings import Settings
from epicsub.recipe.yaml_tree import Problem, shown

I3D_MIN_FRAMES = 9  # below, three stride-2 layers leave a time of 1 for a pool of 2


def _i3d_frames(settings: Settings) -> Iterator[Problem]:
    frames = settings["data.frames"]
    if settings["model.name"] == "i3d" and frames < I3D_MIN_FRAMES:
        text = f"is {frames}, must be at least {I3D_MIN_FRAMES}: i3d halves time three times and pools what is left"
        yield Problem("data.frames", text)


def _i3d_weights(settings: Settings) -> Iterator[Problem]:
    if settings["model.name"] != "i3d":
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


def _frame_lstm_modalities(settings: Settings) -> Iterator[Problem]:
    modalities = list(settings["data.modalities"])
    if settings["model.name"] == "frame_lstm" and modalities != ["rgb"]:
        yield Problem("data.modalities", f"is {shown(modalities)}, must be [rgb] for model.name frame_lstm")


MODEL_RELATIONS = (
    _i3d_frames,
    _i3d_weights,
    _frame_lstm_modalities,
)
