"""Models go to a hub and come back; what goes wrong says so in one message and leaves nothing half-written."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import epicsub
from epicsub.errors import HubError
from epicsub.hub.remote import parse_address
from epicsub.training.checkpoint import load_checkpoint
from tests.cli.hub_server import TOKEN, Hub, Repository

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all
NAME = "our-lab/mmir"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its attempts
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None, raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def pushed(hub: Hub, command, kitchens: Path, run: Path) -> Hub:
    done = command("hub", "push", run, NAME, "--data", kitchens)
    assert done.status == 0, done.err
    return hub


def cached(tmp_path: Path) -> list[str]:
    """What lies in the cache, without the lock."""
    return sorted(str(path.relative_to(tmp_path / "hf")) for path in (tmp_path / "hf").rglob("*") if path.is_file()
                  and path.name != ".lock")  # fmt: skip


def change(hub: Hub, **files: bytes | None) -> None:
    """Make another commit with other files; None takes one away."""
    repository = hub.repositories[NAME]
    now = dict(repository.find("main")[1])  # type: ignore[index]
    for name, content in files.items():
        path = name.replace("__", ".")
        now = {key: value for key, value in now.items() if key != path} | (
            {path: content} if content is not None else {}
        )
    repository.commits["f" * 40] = now


def test_a_model_that_was_pushed_comes_back_to_the_bit(command, hub, kitchens, run, work, tmp_path) -> None:
    scored = command("validate", run, "--protocol", "small.yaml", "--data", kitchens, "--device", "cpu", "--record")
    assert scored.status == 0, scored.err
    done = command("hub", "push", run, NAME, "--data", kitchens, "--protocol", "small.yaml")
    assert done.status == 0, done.err
    card = hub.repositories[NAME].find("main")[1]["README.md"].decode()
    assert "coverage: 24 of 24 segments" in card
    assert re.search(r"\| action, top-1 \| \d+\.\d\d \| \d+\.\d to \d+\.\d \|", card)
    commit, files = hub.repositories[NAME].find("main")
    assert f"commit {commit}" in done.out
    assert sorted(files) == ["README.md", "epicsub.json", "model.safetensors", "recipe.yaml"]
    before = load_checkpoint(run / "last.pth", for_resuming=False)
    pulled = command("hub", "pull", f"hf://{NAME}", "--out", tmp_path / "mine")
    assert pulled.status == 0, pulled.err
    tensors = load_file(tmp_path / "mine" / "model.safetensors")
    assert tensors.keys() == before.model.keys()
    assert all(torch.equal(tensors[name], value) for name, value in before.model.items())
    words = ("--protocol", "small.yaml", "--data", kitchens, "--device", "cpu", "--split", "validation")
    for number, target in enumerate((run, f"hf://{NAME}", f"hf://{NAME}@{commit}", tmp_path / "mine")):
        done = command("predict", target, *words, "-o", tmp_path / f"{number}.npz")
        assert done.status == 0, done.err
    first, *others = [epicsub.read_predictions(tmp_path / f"{number}.npz") for number in range(4)]
    assert all((other.verb_logprobs == first.verb_logprobs).all() for other in others)
    members = (run, f"hf://{NAME}@{commit}")
    joined = command("submit", "--ensemble", *members, *words[:-2], "--name", tmp_path / "both")
    assert joined.status == 0, joined.err
    assert command("validate", f"hf://{NAME}", "--protocol", "small.yaml", "--data", kitchens).status == 0
    model = epicsub.load_model(f"hf://{NAME}", data=kitchens, device="cpu")
    assert model.recipe.data.root is None


def test_the_card_says_what_the_recipe_says(command, kitchens, run, hub) -> None:
    assert command("hub", "push", run, NAME, "--data", kitchens).out.startswith("note: the card has no scores")
    card = hub.repositories[NAME].find("main")[1]["README.md"].decode()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "cc-by-nc-4.0"
    assert head["library_name"] == "epicsub"
    assert "No validation of this checkpoint is recorded" in card
    checkpoint = load_checkpoint(run / "last.pth", for_resuming=False)
    assert f"step 12 of 12, chosen by last; seed {checkpoint.seed}" in card
    assert f"commit of the source: {checkpoint.commit}" in card
    assert f"without labels: {', '.join(checkpoint.recipe['data']['target'])}" in card
    assert "sls_td, training data: " in card
    assert f'epicsub.load_model("hf://{NAME}")' in card


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        ("token", "the token is wrong or may not do that"),
        ("network", "no answer within 3 s"),
        ("upload", "the upload has not become part of the repository"),
        ("other", "holds something else (weights.bin), which is left alone"),
    ],
)
def test_a_push_that_fails_leaves_the_repository_as_it_was(command, hub, run, monkeypatch, failure, says) -> None:
    if failure == "token":
        monkeypatch.setenv("HF_TOKEN", "hf_bad")
    elif failure == "network":
        monkeypatch.setattr("epicsub.hub.remote.why_unreachable", lambda url: "no answer within 3 s")
    elif failure == "upload":
        hub.breaks = "upload"
    else:
        hub.repositories[NAME] = Repository()
        hub.repositories[NAME].commit({"weights.bin": b"x"})
    before = {name: len(one.commits) for name, one in hub.repositories.items()}
    done = command("hub", "push", run, NAME)
    assert done.status == 2
    assert done.err.count("error: ") == 1
    assert says in done.err
    assert f"hf://{NAME}" in done.err
    assert {name: len(one.commits) for name, one in hub.repositories.items() if one.commits} == before


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        ("missing", "no such repository, or a private one that this token may not see"),
        ("revision", "has no such revision"),
        ("network", "no answer within 3 s"),
        ("other", "no model of epicsub: lacks epicsub.json, recipe.yaml, model.safetensors, README.md"),
        ("note", "not the note of a model of epicsub"),
        ("weights", "model.safetensors is not the file that was published"),
        ("recipe", "recipe.yaml is not the file that was published"),
        ("classes", "has {'verb': 5, 'noun': 300} classes"),
        ("pickle", "lacks model.safetensors"),
        ("download", "nothing was kept"),
    ],
)
def test_a_pull_that_fails_keeps_nothing(command, pushed, tmp_path, monkeypatch, failure, says) -> None:
    address = f"hf://{NAME}"
    files = pushed.repositories[NAME].find("main")[1]
    note = json.loads(files["epicsub.json"])
    if failure == "missing":
        address = "hf://our-lab/none"
    elif failure == "revision":
        address += "@v9"
    elif failure == "network":
        monkeypatch.setattr("epicsub.hub.remote.why_unreachable", lambda url: "no answer within 3 s")
    elif failure == "other":
        pushed.repositories[NAME].commits = {"a" * 40: {"pytorch_model.bin": b"x"}}
    elif failure == "note":
        change(pushed, epicsub__json=b"{}")
    elif failure == "weights":
        change(pushed, model__safetensors=files["model.safetensors"][:-4] + b"oops")
    elif failure == "recipe":
        change(pushed, recipe__yaml=files["recipe.yaml"] + b"\n")
    elif failure == "classes":
        change(pushed, epicsub__json=json.dumps(note | {"classes": {"verb": 5, "noun": 300}}).encode())
    elif failure == "pickle":
        change(pushed, model__safetensors=None)
        pushed.repositories[NAME].commits["f" * 40]["model.pth"] = b"x"
    else:
        pushed.breaks = "download"
    done = command("validate", address)
    assert done.status == 2
    assert says in done.err
    assert "Traceback" not in done.err
    assert cached(tmp_path) == []
    assert not list((tmp_path / "hf").glob("epicsub/*/.fetching-*"))


def test_a_cache_that_was_changed_is_not_used(command, pushed, tmp_path) -> None:
    assert command("hub", "pull", NAME, "--out", tmp_path / "mine").status == 0
    weights = next((tmp_path / "hf").rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    done = command("validate", f"hf://{NAME}")
    assert done.status == 2
    assert "model.safetensors is not the file that was published" in done.err


def test_without_a_network_a_commit_that_was_fetched_is_read(command, pushed, kitchens, tmp_path, monkeypatch) -> None:
    commit = pushed.repositories[NAME].find("main")[0]
    assert command("hub", "pull", NAME, "--out", tmp_path / "mine").status == 0
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("epicsub.hub.remote.is_offline_mode", lambda: True)
    words = ("--protocol", "small.yaml", "--data", kitchens, "--device", "cpu")
    assert command("validate", f"hf://{NAME}@{commit}", *words).status == 0
    refused = command("validate", f"hf://{NAME}", *words)
    assert refused.status == 2
    assert f"fetched before: hf://{NAME}@{commit}" in refused.err


def test_names_of_other_classes_are_refused(pushed, kitchens, tmp_path) -> None:
    other = tmp_path / "data" / "annotations"
    shutil.copytree(kitchens / "annotations", other)
    table = other / "EPIC_100_verb_classes.csv"
    head, first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([head, first.replace(",", ",other-", 1), *rest]) + "\n")
    with pytest.raises(HubError, match="not the classes that mmir was trained with"):
        epicsub.load_model(f"hf://{NAME}", data=tmp_path / "data", device="cpu")


def test_a_folder_that_is_taken_is_left_alone(command, pushed, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    done = command("hub", "pull", NAME, "--out", tmp_path / "mine")
    assert done.status == 2
    assert "--out" in done.err
    assert os.listdir(tmp_path / "mine") == ["notes.txt"]  # noqa: PTH208


@pytest.mark.parametrize("text", ["hf://x", "hf://a/b/c", "hf://../x", "hf://a/b@", "hf://a b/c", "hf://", "hf://a/.."])
def test_an_address_of_another_form(text: str) -> None:
    with pytest.raises(HubError, match="hf://ORG/NAME"):
        parse_address(text)
