"""The pixels that every trunk's published weights were trained on, as their source says it."""

import pytest
import torch
from torchvision.models import video
from torchvision.transforms._presets import VideoClassification

from epicsub.models.build import build_model
from epicsub.models.table import MODELS

FACEBOOK = ([0.45] * 3, [0.225] * 3)
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def torchvision(weights: object) -> tuple[list[float], list[float]]:
    preset = weights.transforms()  # type: ignore[attr-defined]
    assert isinstance(preset, VideoClassification)
    return list(preset.mean), list(preset.std)


SOURCES = {
    "slowfast": FACEBOOK,  # pytorchvideo's model zoo: DATA.MEAN, DATA.STD of slowfast/config/defaults.py
    "x3d": FACEBOOK,  # likewise
    "i3d_r50": FACEBOOK,  # likewise
    "r2plus1d": torchvision(video.R2Plus1D_18_Weights.KINETICS400_V1),
    "mvit_v2": torchvision(video.MViT_V2_S_Weights.KINETICS400_V1),
    "video_swin": torchvision(video.Swin3D_T_Weights.KINETICS400_V1),
    "timesformer": FACEBOOK,  # preprocessor_config.json of facebook/timesformer-base-finetuned-k400
    "videomae": IMAGENET,  # preprocessor_config.json of MCG-NJU/videomae-base-finetuned-kinetics
}


@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row.variants])
def test_pixels_are_normalised_as_the_published_weights_expect(name: str) -> None:
    if name in ("timesformer", "videomae"):
        pytest.importorskip("transformers")
    stream = build_model(name, ["rgb"], frames=16, size=64, variant="tiny", weights={"rgb": None}).stream("rgb")
    for found, unit_range in zip((stream.normalise.mean, stream.normalise.std), SOURCES[name], strict=True):
        torch.testing.assert_close(found, torch.tensor(unit_range) * 255)


@pytest.mark.parametrize("table", [video.Swin3D_S_Weights, video.Swin3D_B_Weights])
def test_every_size_of_video_swin_has_the_same_pixels(table: type) -> None:
    assert all(torchvision(weights) == SOURCES["video_swin"] for weights in table)  # type: ignore[attr-defined]
