"""What a model costs in multiply-adds, by the authors or the library that publishes it, and counted here.

A figure is of one clip (of one image for the models on image backbones, whose recurrent part is ours), at the input
that it was published for, which need not be the recipe's. The count is of convolutions, linear layers and attention;
the published ones are too. Both heads (97 verbs, 300 nouns) stand in for the 400 classes: within 0.01 GMAC.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from epicsub.recipe import load_recipe
from epicsub.training.build import model_of

WITHIN = 0.03
"""A count further than this from the published figure is explained in `Published.note`."""


class Published(NamedTuple):
    """What the authors, or the library, state of a model."""

    gmac: float
    frames: int
    size: int
    source: str
    note: str = ""
    image: bool = False
    """Of the image backbone alone, on one picture."""


PYTORCHVIDEO = "pytorchvideo docs/source/model_zoo.md, Kinetics-400, Flops (G)"
TORCHVISION = "torchvision {}.meta['_ops']"
PUBLISHED = {
    "i3d": Published(
        27.788, 16, 224,
        "counted by hand from the layer table of arXiv 1705.07750, which states none (tests/models/test_i3d.py)",
        "another paper's I3D has 107.9 GMAC at 64 frames (arXiv 1712.04851, recalled, not looked up); this one 111.2",
    ),
    "slowfast": Published(65.71, 32, 256, PYTORCHVIDEO),
    "x3d": Published(
        4.73, 16, 224, "the authors' MODEL_ZOO.md, github.com/facebookresearch/SlowFast, X3D-M",
        "pytorchvideo's model zoo states 6.72 at 256 pixels for the same network: 9 % more than it has in convolutions "
        "and linear layers there (6.18), which is what the authors' figure comes to at that size",
    ),
    "i3d_r50": Published(37.53, 8, 256, PYTORCHVIDEO),
    "r2plus1d": Published(40.519, 16, 112, TORCHVISION.format("R2Plus1D_18_Weights.KINETICS400_V1")),
    "mvit_v2": Published(64.224, 16, 224, TORCHVISION.format("MViT_V2_S_Weights.KINETICS400_V1")),
    "video_swin": Published(43.882, 16, 224, TORCHVISION.format("Swin3D_T_Weights.KINETICS400_V1")),
    "timesformer": Published(196.7, 8, 224, "arXiv 2102.05095, 0.59 TFLOPs in three views (recalled)"),
    "videomae": Published(180.0, 16, 224, "arXiv 2203.12602, ViT-B 180 x 5 x 3 (recalled)"),
    "resnet50": Published(4.089, 1, 224, TORCHVISION.format("ResNet50_Weights.IMAGENET1K_V2"), image=True),
    "convnext_tiny": Published(4.456, 1, 224, TORCHVISION.format("ConvNeXt_Tiny_Weights.IMAGENET1K_V1"), image=True),
    "tf_efficientnet_b4": Published(
        4.394, 1, 380, TORCHVISION.format("EfficientNet_B4_Weights.IMAGENET1K_V1"), image=True
    ),
}  # fmt: skip
"""By `model.name`, or by `model.backbone` without its weights' tag."""


def published_of(path: Path) -> Published | None:
    """The figure for a recipe's network; none for the variants made small."""
    model = load_recipe(path).recipe.model
    if getattr(model, "variant", "") == "tiny" or getattr(model, "width", 1.0) != 1.0:
        return None
    return PUBLISHED.get(str(getattr(model, "backbone", model.name)).partition(".")[0])


def count_as_published(path: Path, published: Published) -> float:
    """Multiply-adds (1e9) of a recipe's network at the input of the published figure."""
    frames = load_recipe(path).recipe.data.frames if published.image else published.frames
    sizes = [f"data.frames={frames}", f"data.size={published.size}", f"data.short_side={published.size}"]
    recipe = load_recipe(path, [*rgb_alone(path), *sizes]).recipe
    with torch.device("meta"):
        model = model_of(recipe, weights=False).eval()
        if published.image:
            return counted(model.stream("rgb").trunk.backbone, torch.empty(1, 3, published.size, published.size))  # type: ignore[operator, union-attr]
        return of_clip(model, frames, published.size)


def of_clip(model: nn.Module, frames: int, size: int) -> float:
    """Multiply-adds (1e9) of one RGB clip, on the meta device: nothing is computed."""
    with torch.device("meta"):
        return counted(model.eval(), {"rgb": torch.empty(1, 3, frames, size, size, dtype=torch.uint8)})


def counted(model: nn.Module, given: object) -> float:
    """Multiply-adds (1e9) of one call."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(given)
    return counter.get_total_flops() / 2e9


def rgb_alone(path: Path) -> list[str]:
    """Overrides that leave a recipe's flow stream out."""
    weights = ["model.weights={rgb: null}"] if len(load_recipe(path).recipe.data.modalities) > 1 else []
    return ["data.modalities=[rgb]", *weights]
