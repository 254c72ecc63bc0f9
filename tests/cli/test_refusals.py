"""Each wrong input gets one clear message, exit status 2 and no traceback."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

TRAIN = ("train", "recipes/tiny/source_only.yaml", "data.workers=0", "train.log_every=1", "model.width=0.0625")


def refused(done, *texts: str) -> None:
    """The command ended with status 2, wrote all texts on stderr, and showed no traceback."""
    assert done.status == 2, done.out + done.err
    assert "Traceback" not in done.err
    for text in texts:
        assert text in done.err, done.err


@pytest.fixture
def broken(kitchens: Path, tmp_path: Path) -> Path:
    """A copy of the kitchens to break."""
    shutil.copytree(kitchens, tmp_path / "broken")
    return tmp_path / "broken"


@pytest.fixture
def victim(broken: Path) -> tuple[Path, str]:
    """A training video's path and its id."""
    video_id = pd.read_csv(broken / "annotations" / "EPIC_100_train.csv").video_id[0]
    return next((broken / "videos").rglob(f"{video_id}.MP4")), video_id


def test_unknown_recipe_key(command, work, repository) -> None:
    text = (repository / "recipes" / "tiny" / "mmir_i3d.yaml").read_text()
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "learning_rate" in row)
    (work / "typo.yaml").write_text(text.replace("learning_rate", "learing_rate", 1))
    refused(command("train", "typo.yaml"), f"typo.yaml:{line}  ", "unknown key, did you mean", "nothing was started")


def test_unknown_override(command) -> None:
    refused(command(*TRAIN, "train.clip_gradd=1"), "train.clip_gradd", "did you mean train.clip_grad")


def test_missing_recipe(command) -> None:
    refused(command("train", "recipes/none.yaml"), "recipes/none.yaml")
    refused(command("train", "mmir_i3"), "mmir_i3: no such recipe. Did you mean mmir_i3d")


def test_missing_column(command, broken) -> None:
    path = broken / "annotations" / "EPIC_100_train.csv"
    pd.read_csv(path).drop(columns="noun_class").to_csv(path, index=False)
    refused(command(*TRAIN, "--data", broken, "--out", "outputs/x1"), "EPIC_100_train.csv", "noun_class")


def test_missing_video(command, broken, victim) -> None:
    victim[0].unlink()
    refused(command(*TRAIN, "--data", broken, "--out", "outputs/x2"), victim[1], "nothing was started")


@pytest.mark.parametrize("keep", [0.0, 0.5], ids=["zero bytes", "half"])
def test_damaged_video(command, broken, victim, keep: float) -> None:
    path, video_id = victim
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    done = command(*TRAIN, "--data", broken, "--out", f"outputs/x3{keep}")
    refused(done, f"{video_id}_", str(path))


def test_video_whose_data_is_cut_behind_a_whole_header(command, broken, victim) -> None:
    """With the index in front, half a file still opens: only decoding finds out."""
    import av

    path, video_id = victim
    moved = path.with_suffix(".front.mp4")
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path.write_bytes(moved.read_bytes()[: moved.stat().st_size // 2])
    moved.unlink()
    done = command(*TRAIN, "--data", broken, "--out", "outputs/x4")
    refused(done, f"{video_id}_", str(path))


def test_missing_flow(command, broken, victim) -> None:
    next((broken / "flow").rglob(f"{victim[1]}.mp4")).unlink()
    refused(command(*TRAIN, "--data", broken, "--out", "outputs/x5"), victim[1], "epicsub data flow")


def test_checkpoint_that_is_something_else(command, kitchens, tmp_path) -> None:
    wrong = tmp_path / "wrong.pth"
    torch.save({"a": 1}, wrong)
    refused(command("validate", wrong, "--data", kitchens), str(wrong), "not a checkpoint of epicsub")
    wrong.write_bytes(pickle.dumps(Path("x")))
    refused(command("validate", wrong, "--data", kitchens), str(wrong))
    wrong.write_bytes(b"")
    refused(command("validate", wrong, "--data", kitchens), str(wrong))


def test_no_such_target(command, kitchens, run) -> None:
    refused(command("validate", "nothing", "--data", kitchens), "nothing", "short")


def write_members(folder: Path, ids: list[str], verbs: int = 97) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        {"narration_id": i, "verb_output": rng.normal(size=verbs), "noun_output": rng.normal(size=300)} for i in ids
    ]
    with (folder / "member.pkl").open("wb") as file:
        pickle.dump(rows, file)
    return folder / "member.pkl"


LEVELS = ("--sls-pt", 0, "--sls-tl", 3, "--sls-td", 3, "--protocol", "small.yaml")


def test_member_with_other_class_counts(command, kitchens, tmp_path) -> None:
    ids = list(pd.read_csv(kitchens / "annotations" / "EPIC_100_test_timestamps.csv").narration_id)
    member = write_members(tmp_path, ids, verbs=8)
    refused(command("submit", member, *LEVELS, "--data", kitchens), str(member), "8", "97")


def test_member_that_lacks_segments(command, kitchens, tmp_path) -> None:
    ids = list(pd.read_csv(kitchens / "annotations" / "EPIC_100_test_timestamps.csv").narration_id)
    member = write_members(tmp_path, ids[3:])
    refused(command("submit", member, *LEVELS, "--data", kitchens), "member", *ids[:3])


def test_another_count_than_the_protocol(command, kitchens, run) -> None:
    done = command("submit", run, "--protocol", "validation/ek100.yaml", "--data", kitchens)
    refused(done, "20", "9449", "--count 20")


def test_folder_that_cannot_be_written(command, kitchens, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    refused(command(*TRAIN, "--data", kitchens, "--out", tmp_path / "file" / "run"), str(tmp_path / "file" / "run"))
    done = command("data", "synth", tmp_path / "file" / "kitchens")
    refused(done, str(tmp_path / "file"))


def test_weights_that_nobody_has(command, kitchens) -> None:
    done = command(*TRAIN, "model.weights.rgb=nowhere.pt", "--data", kitchens, "--out", "outputs/x6")
    refused(done, "nowhere.pt", "model.weights.rgb")


def test_non_finite_loss_names_step_and_segments(command, kitchens) -> None:
    words = ("train.stages.0.learning_rate=1e18", "train.clip_grad=null")
    done = command(*TRAIN, *words, "--data", kitchens, "--out", "outputs/x7")
    refused(done, "step ", "source batch: P")


def test_another_recipe_is_not_resumed(command, kitchens, run, short) -> None:
    done = command("train", "recipes/tiny/mmir_i3d.yaml", *short, "seed=5", "--data", kitchens, "--out", run)
    refused(done, "seed: 1 in the run, 5 now", "--no-resume")


def test_two_runs_in_one_folder(command, kitchens, work) -> None:
    from epicsub.training.run_folder import run_lock

    with run_lock(work / "outputs" / "locked"):
        done = command(*TRAIN, "--data", kitchens, "--out", "outputs/locked")
    refused(done, "process ", "trains into this folder", "--out")


def test_published_weights_that_cannot_be_found(command, kitchens, monkeypatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*words: object, **more: object) -> None:
        raise LocalEntryNotFoundError("cannot reach the hub")

    monkeypatch.setattr("epicsub.models.weights.why_unreachable", lambda _: "")
    monkeypatch.setattr("epicsub.models.weights.hf_hub_download", unreachable)
    words = ("train", "recipes/tiny/resnet_bilstm.yaml", "model.weights=timm", "model.backbone=resnet26.bt_in1k")
    done = command(*words, "--data", kitchens, "--out", "outputs/x8")
    refused(
        done, "model.weights: weights resnet26.bt_in1k: not found", "cannot reach it from here", "nothing was started"
    )
