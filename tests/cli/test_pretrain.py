"""`epicsub pretrain`: weights that training takes, that say what they have seen, and that a kill does not change."""

import json
import shutil
from pathlib import Path

import cv2
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from epicsub.hub.folder import read_folder, write_folder
from epicsub.training import pretrain as loop
from epicsub.training.checkpoint import load_checkpoint
from tests.cli.conftest import Call

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

ONE = ["train.stages.0.steps=1", "train.stages.1.steps=1"]
SMALL = [
    "data.workers=0", "data.size=32", "data.short_side=36", "evaluation.batch_size=12", "train.log_every=1",
    "train.stages.0.steps=6", "train.stages.1.steps=3", "train.stages.0.source_batch=4",
    "train.stages.1.source_batch=4", "train.checkpoint_every=2", "pretext.phase=1", "pretext.items=24",
    "pretext.held_out=2", "data.target=[EPIC_100_validation.csv]",
]  # fmt: skip
WIDTH = "model.width=0.0625"
BOTH = ("data.modalities=[rgb, flow]", "model.weights={rgb: null, flow: null}")
I3D = "recipes/tiny/order_i3d.yaml"
TRAIN = [
    "data.workers=0", "data.size=32", "data.short_side=36", "train.stages.0.steps=1", "train.stages.1.steps=1",
    "train.stages.0.source_batch=4", "train.stages.1.source_batch=4", WIDTH,
]  # fmt: skip


@pytest.fixture(scope="module")
def pretrained(command: Call, kitchens: Path, work: Path) -> Path:
    """A pre-training of I3D on the training and validation lists, both streams."""
    done = command("pretrain", I3D, *SMALL, *BOTH, WIDTH, "--data", kitchens, "--out", "outputs/order")
    assert done.status == 0, done.err
    assert done.out.splitlines() == [
        "wrote outputs/order/weights/rgb.safetensors",
        "wrote outputs/order/weights/flow.safetensors",
        "train from them with model.weights: {rgb: outputs/order/weights/rgb.safetensors, "
        "flow: outputs/order/weights/flow.safetensors}",
    ]
    return work / "outputs" / "order"


def without(*keys: str) -> list[str]:
    """The overrides but for those of some keys."""
    return [word for word in SMALL if not any(key in word.partition("=")[0] for key in keys)]


def levels_of_upload(command: Call, work: Path, kitchens: Path, run: Path, name: str, *more: object) -> dict[str, int]:
    """Supervision levels that a submission of a run states."""
    words = ["--protocol", "small.yaml", "--name", name, "--data", kitchens]
    done = command("submit", run, *words, *more)
    assert done.status == 0, done.err
    head = json.loads((work / "submissions" / name / "manifest.json").read_text())["levels"]
    return {kind.removeprefix("sls_"): level for kind, level in head.items()}


def train_from(command: Call, kitchens: Path, weights: Path | str, out: Path) -> None:
    """Two steps of the labelled recipe from pre-trained weights of both streams."""
    words = [*TRAIN, f"model.weights={weights}", "evaluation.protocol=small.yaml"]
    done = command("train", "recipes/tiny/source_only.yaml", *words, "--data", kitchens, "--out", out)
    assert done.status == 0, done.err


def test_training_starts_from_the_trunk_alone_and_an_upload_says_what_it_saw(
    command: Call, kitchens: Path, work: Path, pretrained: Path
) -> None:
    elsewhere = work / "harmless"  # neither a name nor a place hides it
    shutil.copytree(pretrained / "weights", elsewhere)
    weights = {name: str(elsewhere / f"{name}.safetensors") for name in ("rgb", "flow")}
    train_from(command, kitchens, json.dumps(weights), work / "outputs" / "finetuned")
    shutil.rmtree(elsewhere)  # the checkpoint carries it
    saved = load_file(pretrained / "weights" / "rgb.safetensors")
    assert not [name for name in saved if "head" in name or "hidden" in name or "logits" in name]
    run = torch.load(work / "outputs/finetuned/last.pth", weights_only=True)
    assert set(run["initial"]["lists"]) == {"EPIC_100_train.csv", "EPIC_100_validation.csv"}
    assert run["initial"]["steps"] == 9
    published = work / "published"
    published.mkdir()
    write_folder(published, load_checkpoint(work / "outputs/finetuned/last.pth"), {}, "")
    assert read_folder(published).initial == run["initial"]
    assert levels_of_upload(command, work, kitchens, Path("finetuned"), "order") == {"pt": 3, "tl": 3, "td": 4}
    refused = command(
        "submit", "finetuned", "--protocol", "small.yaml", "--name", "lower", "--data", kitchens, "--sls-td", 3
    )
    assert refused.status == 2
    assert "--sls-td 3 is lower than the 4 of finetuned" in refused.err


def test_weights_that_saw_test_clips_under_another_name_are_still_of_level_4(
    command: Call, kitchens: Path, work: Path
) -> None:
    renamed = kitchens / "annotations" / "unlabelled.csv"
    shutil.copy(kitchens / "annotations" / "EPIC_100_test_timestamps.csv", renamed)
    words = [*without("steps", "data.target"), *ONE, *BOTH, WIDTH, "data.target=[unlabelled.csv]"]
    done = command("pretrain", I3D, *words, "--data", kitchens, "--out", "outputs/renamed")
    assert done.status == 0, done.err
    first = work / "outputs/renamed/weights"
    again = [*without("steps", "data.target"), *ONE, *BOTH[:1], WIDTH]  # a second pre-training forgets nothing
    weights = json.dumps({name: str(first / f"{name}.safetensors") for name in ("rgb", "flow")})
    done = command("pretrain", I3D, *again, f"model.weights={weights}", "--data", kitchens, "--out", "outputs/twice")
    assert done.status == 0, done.err
    second = work / "outputs/twice/weights"
    weights = json.dumps({name: str(second / f"{name}.safetensors") for name in ("rgb", "flow")})
    train_from(command, kitchens, weights, work / "outputs" / "twice_finetuned")
    assert levels_of_upload(command, work, kitchens, Path("twice_finetuned"), "twice") == {"pt": 3, "tl": 3, "td": 4}


class Killed(BaseException):
    """What ends a run between two lines, as a kill does."""


def test_killed_and_resumed_equals_uninterrupted(
    command: Call, kitchens: Path, work: Path, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("pretrain", I3D, *SMALL, *BOTH, WIDTH, "--data", kitchens, "--out", "outputs/killed")
    step, killed = loop.order_step, work / "outputs" / "killed"
    for last in (3, 4, 7):  # steps that the run may take before it ends: after and between checkpoints

        def limited(fabric, recipe, state, batch, rate, last=last):  # type: ignore[no-untyped-def]
            if state.step == last:
                raise Killed
            return step(fabric, recipe, state, batch, rate)

        monkeypatch.setattr(loop, "order_step", limited)
        with pytest.raises(Killed):
            command(*words)
    monkeypatch.setattr(loop, "order_step", step)
    done = command(*words)
    assert done.status == 0, done.err
    assert "resuming from step 6 of 9" in done.err
    assert (killed / "metrics.jsonl").read_text() == (pretrained / "metrics.jsonl").read_text()
    for name in ("last.pth", "weights/rgb.safetensors", "weights/flow.safetensors"):
        assert (killed / name).read_bytes() == (pretrained / name).read_bytes(), name


def test_the_log_has_errors_by_group_and_the_policys_probabilities(pretrained: Path) -> None:
    lines = [json.loads(line) for line in (pretrained / "metrics.jsonl").read_text().splitlines()]
    checks = [line for line in lines if line["kind"] == "order"]
    assert [line["step"] for line in checks] == list(range(10))
    for task in ("temporal", "spatial"):
        assert {f"{task}/error_{group}" for group in range(6)} <= set(checks[-1])
        assert sum(checks[-1][f"{task}/pi_{group}"] for group in range(6)) == pytest.approx(1.0, abs=1e-6)
    assert list((pretrained / "tensorboard").iterdir())


def test_figures_of_a_pre_training(command: Call, kitchens: Path, work: Path, pretrained: Path) -> None:
    done = command("bench", "order", "order", "--clips", 2, "--data", kitchens)
    assert done.status == 0, done.err
    written = [f"wrote outputs/order/order/{name}.png" for name in ("curves", "temporal", "spatial")]
    assert done.out.splitlines() == written
    for name in ("curves", "temporal", "spatial"):
        picture = cv2.imread(str(pretrained / "order" / f"{name}.png"))
        assert picture.std() > 10  # drawn on
    refused = command("bench", "order", "nothing", "--data", kitchens)
    assert refused.status == 2
    assert "`epicsub pretrain` makes one" in refused.err


def test_a_frame_model_gives_its_backbone(command: Call, kitchens: Path, work: Path) -> None:
    words = [*without("steps", "data.target", "size", "short_side"), *ONE]
    words += ["evaluation.batch_size=12", "--data", kitchens, "--out", "outputs/frames"]
    done = command("pretrain", "recipes/tiny/order_frame_mean.yaml", *words)
    assert done.status == 0, done.err
    line = done.out.splitlines()[-1].partition("model.weights: ")[2]
    settings = ["data.workers=0", "train.stages.0.steps=1", "train.stages.0.warmup_steps=0", f"model.weights={line}"]
    words = [*settings, "--data", kitchens, "--out", "outputs/frames_finetuned"]
    done = command("train", "recipes/tiny/frame_mean.yaml", *words)
    assert done.status == 0, done.err


def test_a_dry_run_estimates_and_writes_nothing(command: Call, kitchens: Path, work: Path) -> None:
    done = command("pretrain", I3D, *SMALL, "--dry-run", "--data", kitchens, "--out", "outputs/dry")
    assert done.status == 0, done.err
    assert "in total on this machine" in done.out
    assert "temporal: 12 permutations in 6 groups of" in done.out
    assert not (work / "outputs" / "dry").exists()


def test_the_full_recipes_pass_a_dry_run(
    command: Call, kitchens: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epicsub.training.dry_run.TRIED_STEP", 0.0)
    for name in ("order_i3d", "order_i3d_uniform", "order_frame_mean"):
        few = ["pretext.held_out=2", "train.stages.0.source_batch=8", "train.stages.1.source_batch=8"]
        done = command(
            "pretrain", f"recipes/{name}.yaml", *few, "--dry-run", "--data", kitchens, "--out", "outputs/dry"
        )
        assert done.status == 0, done.err
        assert "no step was tried" in done.out
    assert not (work / "outputs" / "dry").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", I3D), "this recipe pre-trains without labels: run `epicsub pretrain"),
        (("pretrain", "recipes/tiny/source_only.yaml"), "has no section pretext"),
        (("pretrain", I3D, "train.stages.0.source_batch=400"), "400 clips per step, but the lists have"),
        (("pretrain", I3D, "data.source=[one.csv]"), "holds out whole videos of each"),
        (("pretrain", I3D, "pretext.head=siamese"), "chunks have 4 frames, and i3d needs 9"),
        (("pretrain", I3D, "pretext.groupz=4"), "did you mean pretext.groups"),
        (("pretrain", I3D, "pretext.grid=3"), "pretext.permutations: missing"),
        (("pretrain", I3D, "pretext.choice=uniform", "pretext.negated=true"), "but pretext.choice is uniform"),
        (("pretrain", I3D, "train.evaluate_every=5"), "reads no labels to score with"),
        (("pretrain", I3D, "train.mixing={mixup: 0.8}"), "which pre-training does not read"),
        (("pretrain", I3D, "supervision.pretraining=0"), "weights of this recipe are self-supervised"),
        (("pretrain", I3D, "adaptation={method: mcd}"), "pre-training adapts nothing: write source_only"),
        (("pretrain", "recipes/tiny/order_frame_mean.yaml", "pretext.head=joint"), "the same in any order"),
        (("pretrain", I3D, "model.weights={rgb: mute.safetensors}"), "does not say what these weights have seen"),
        (("validate", "outputs/order", "--protocol", "small.yaml"), "is of a pre-training, which tells the order"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else None,
)
def test_what_is_refused_before_anything_starts(
    command: Call, kitchens: Path, work: Path, pretrained: Path, words: tuple[str, ...], expected: str
) -> None:
    rows = (kitchens / "annotations" / "EPIC_100_train.csv").read_text().splitlines()
    one = [row for row in rows[1:] if row.split(",")[2] == rows[1].split(",")[2]]
    (kitchens / "annotations" / "one.csv").write_text("\n".join([rows[0], *one]) + "\n")
    save_file({"x": torch.zeros(1)}, work / "mute.safetensors", metadata={"epicsub_seen": "{}"})
    small = ["data.workers=0"] if words[0] != "validate" else []
    done = command(*words, *small, "--data", kitchens)
    assert done.status == 2, done.out
    assert expected in done.err
    assert "Traceback" not in done.err


def test_no_label_is_asked_for(command: Call, kitchens: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a labelled list was asked for")

    for module in ("epicsub.training.loaders", "epicsub.data.domains"):
        monkeypatch.setattr(f"{module}.load_source", refuse)
    words = [*without("steps"), *ONE, WIDTH, "--data", kitchens, "--out", tmp_path]
    assert command("pretrain", I3D, *words).status == 0
    with safe_open(tmp_path / "weights" / "rgb.safetensors", framework="pt") as file:
        seen = json.loads(file.metadata()["epicsub_seen"])
    assert seen["levels"] == {"pretraining": 3, "data": 3}
    assert set(seen["lists"]) == {"EPIC_100_train.csv", "EPIC_100_validation.csv"}
