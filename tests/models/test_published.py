"""Networks of libraries: our trunks hold the tensors that their published files hold, by name and shape."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import video

from epicsub.errors import ModelError
from epicsub.models.build import _import_builder, build_model
from epicsub.models.table import MODELS, WEIGHTS
from epicsub.models.weights import load_published


def of_pytorchvideo(name: str) -> nn.Module:
    from pytorchvideo.models import hub

    made: nn.Module = getattr(hub, name)()
    return made


CASES: list[tuple[str, str, int, Callable[[], nn.Module]]] = [
    ("slowfast", "r50", 32, lambda: of_pytorchvideo("slowfast_r50")),
    ("slowfast", "r101", 32, lambda: of_pytorchvideo("slowfast_r101")),
    ("i3d_r50", "r50", 8, lambda: of_pytorchvideo("i3d_r50")),
    ("r2plus1d", "18", 16, video.r2plus1d_18),
    ("mvit_v2", "s", 16, video.mvit_v2_s),
    ("video_swin", "t", 16, video.swin3d_t),
    ("video_swin", "s", 16, video.swin3d_s),
    ("video_swin", "b", 16, video.swin3d_b),
]


def trunk_of(name: str, variant: str, frames: int, channels: int = 3) -> nn.Module:
    row = MODELS[name]
    clip = {key: value for key, value in (("frames", frames), ("size", 224)) if key in row.clip}
    return _import_builder(row)(variant, channels, **clip, **({"drop_path": 0.0} if row.drop_path else {}))


def load(trunk: nn.Module, path: Path, channels: int) -> None:
    load_published(trunk.network, path, MODELS["x3d"].dropped, MODELS["x3d"].input_layers, channels)


def shapes(state: dict[str, Tensor], dropped: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items() if not name.startswith(dropped)}


@pytest.mark.parametrize(("name", "variant", "frames", "published"), CASES, ids=[f"{c[0]}_{c[1]}" for c in CASES])
def test_tensors_are_those_of_the_library(name: str, variant: str, frames: int, published: Callable) -> None:
    with torch.device("meta"):
        theirs, trunk = published().state_dict(), trunk_of(name, variant, frames)
    own = shapes(trunk.network.state_dict(), ())
    assert own == shapes(theirs, MODELS[name].dropped)
    assert len(theirs) - len(own) == 2  # the classifier's weight and bias


@pytest.mark.parametrize("variant", ["s", "m", "l"])
def test_x3d_holds_the_tensors_of_the_library(variant: str) -> None:
    theirs, trunk = of_pytorchvideo(f"x3d_{variant}").state_dict(), trunk_of("x3d", variant, 16)
    assert shapes(trunk.network.state_dict(), ()) == shapes(theirs, MODELS["x3d"].dropped)


def test_features_are_what_the_librarys_own_network_pools() -> None:
    torch.manual_seed(0)
    theirs, trunk = video.r2plus1d_18().eval(), trunk_of("r2plus1d", "18", 8).eval()
    trunk.network.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    clip = torch.randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(theirs.fc(trunk.features(clip)), theirs(clip))


def test_published_files_fill_rgb_and_flow(tmp_path: Path) -> None:
    """pytorchvideo's files hold their tensors under `model_state`; flow takes the mean over the RGB channels."""
    torch.manual_seed(0)
    network = trunk_of("x3d", "tiny", 8).network.state_dict()
    path = tmp_path / "X.pyth"
    torch.save({"model_state": network | {"blocks.5.proj.weight": torch.zeros(400, 256)}}, path)
    first = "blocks.0.conv.conv_t.weight"
    for channels in (3, 2):
        trunk = trunk_of("x3d", "tiny", 8, channels)
        load(trunk, path, channels)
        loaded = trunk.network.state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in network.items() if name != first)
        expected = network[first] if channels == 3 else network[first].mean(1, keepdim=True).repeat(1, 2, 1, 1, 1)
        torch.testing.assert_close(loaded[first], expected)
    del network["blocks.0.norm.weight"]
    torch.save(network, path)
    with pytest.raises(ModelError, match=r"missing \(1\): blocks\.0\.norm\.weight"):
        load(trunk_of("x3d", "tiny", 8), path, 3)


def test_averaged_channels_see_a_grey_clip_as_rgb_does(tmp_path: Path) -> None:
    rgb, flow = (nn.Sequential(nn.Conv3d(channels, 4, (1, 3, 3))) for channels in (3, 2))
    torch.save(rgb.state_dict(), tmp_path / "rgb.pt")
    load_published(flow, tmp_path / "rgb.pt", [], ["0"], 2)
    grey, bias = torch.randn(1, 1, 2, 5, 5), rgb[0].bias.view(-1, 1, 1, 1)
    as_rgb, as_flow = rgb(grey.expand(-1, 3, -1, -1, -1)), flow(grey.expand(-1, 2, -1, -1, -1))
    torch.testing.assert_close(as_flow - bias, (as_rgb - bias) * 2 / 3)


def test_every_published_name_is_of_a_variant_that_builds() -> None:
    for name, file in WEIGHTS.items():
        model, _, variant = file.model.partition(" ")
        if model in ("i3d", "backbone"):
            continue
        with torch.device("meta") if model != "x3d" else torch.device("cpu"):
            build_model(
                model, ["rgb"], False, frames=16, size=224, variant=variant, weights={"rgb": name}
            )  # ModelError where the name is for another


def test_weights_that_are_nowhere_name_the_place_and_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("epicsub.io.network.why_unreachable", lambda _: "")
    monkeypatch.setattr("epicsub.io.network.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(ModelError) as caught:
        build_model("x3d", ["rgb"], frames=16, size=64, variant="m", weights={"rgb": "x3d_m_kinetics"})
    assert "X3D_M.pyth in weights" in str(caught.value)
    assert "model_zoo/kinetics/X3D_M.pyth: cannot reach it from here" in str(caught.value)
    assert "put it into weights/" in str(caught.value)


def test_the_page_of_models_names_every_published_file_and_the_clips_it_was_trained_on(repository: Path) -> None:
    rows = [line for line in (repository / "docs" / "train.md").read_text().splitlines() if line.startswith("| `")]
    for name, weights in WEIGHTS.items():
        start = f"| `{name}` | `{weights.file}` | {weights.model}"
        clip = f"{weights.clip[0]}, {weights.clip[1]:.3f} s" if weights.clip else "single pictures"
        assert [f" | {clip} | " in row for row in rows if row.startswith(start)] == [True], name
