"""From kitchens to a checked submission, by the commands a user types."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from epicsub.api.status import doctor
from epicsub.data.root import DataRoot
from epicsub.data.sampling import parse_views
from epicsub.inference.predict import predict
from epicsub.inference.targets import resolve_target
from epicsub.predictions import read_predictions
from epicsub.training.loaders import store_of, view_loader

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all


def test_validate_writes_coverage_and_scores(command, kitchens, run, work) -> None:
    done = command("validate", run, "--data", kitchens, "--protocol", "small.yaml", "--json", "scores.json")
    assert done.status == 0, done.err
    assert "24 of 24" in done.out
    report = json.loads((work / "scores.json").read_text())["short"]
    assert report["coverage"] == {"segments": 24, "of": 24}
    assert 0 <= report["scores"]["all_action_accuracy_at_1"] <= report["scores"]["all_action_accuracy_at_5"] <= 100


def test_submit_averages_members_and_check_agrees(command, kitchens, run, work) -> None:
    common = ["--data", kitchens, "--protocol", "small.yaml"]
    for views in ("1x1", "2x3+flip"):
        done = command("predict", run, "--split", "test", "--tta", views, "-o", f"{views[0]}.npz", *common)
        assert done.status == 0, done.err
    levels = ["--sls-pt", 0, "--sls-tl", 3, "--sls-td", 4]
    done = command("submit", "--ensemble", "1.npz", "2.npz", run, *levels, "--name", "a", *common)
    assert done.status == 0, done.err
    folder = work / "submissions" / "a"
    rows = torch.load(folder / "submission.pt", weights_only=True)
    members = [read_predictions(work / name) for name in ("1.npz", "2.npz", "1.npz")]  # the run's own views are 1x1
    ids = [row["narration_id"] for row in rows]
    mean = np.mean([np.exp(member.select(ids).noun_logprobs.astype(np.float64)) for member in members], axis=0)
    written = np.exp(np.stack([row["noun_output"].numpy() for row in rows]).astype(np.float64))
    np.testing.assert_allclose(written, mean, rtol=1e-4, atol=1e-9)
    for name in ("submission.pt", "submission.zip", "submission_json.zip"):
        checked = command("check", folder / name, *common)
        assert checked.status == 0, checked.err
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [member["kind"] for member in manifest["members"]] == ["predictions", "predictions", "checkpoint"]


def test_a_run_goes_by_its_name(command, kitchens, run) -> None:
    done = command("validate", "short", "--data", kitchens, "--protocol", "small.yaml")
    assert done.status == 0, done.err


def test_control_and_second_model_train(command, kitchens, run) -> None:
    common = ["train.log_every=1", "train.stages.0.steps=2", "data.workers=0", "--data", kitchens]
    for name, more in {"resnet_bilstm": [], "source_only": ["train.stages.1.steps=2"]}.items():
        done = command("train", f"recipes/tiny/{name}.yaml", *common, *more, "--out", f"outputs/{name}")
        assert done.status == 0, done.err


def test_help_names_every_command(command) -> None:
    done = command("--help")
    assert done.status == 0
    for name in ("train", "validate", "predict", "submit", "check", "data", "recipes", "show", "doctor", "demo"):
        assert f" {name} " in done.out


def test_help_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from epicsub.cli.main import app\n"
        "heavy = {'torch', 'pandas', 'numpy', 'av', 'cv2', 'pydantic'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_doctor_and_recipes_answer(command, kitchens) -> None:
    answer = command("doctor", "--data", kitchens)
    assert "decoder pyav: available" in answer.out
    assert "annotation tables, 9 videos" in answer.out
    assert answer.out.splitlines() == doctor(kitchens)
    assert "data root elsewhere: no such folder; set it with --data or $EPICSUB_DATA" in doctor("elsewhere")
    assert "tiny/mmir_i3d  " in command("recipes").out
    assert "recipes/tiny/mmir_i3d.yaml  " in command("recipes", "recipes").out
    shown = command("show", "mmir_i3d", "seed=7")
    assert "seed: 7" in shown.out


def test_the_real_clip_goes_the_whole_way(command, kitchens, run, shared_data, tmp_path: Path) -> None:
    """A Matroska file without a frame count: decode, flow, predictions, like everything else."""
    import shutil

    (tmp_path / "videos" / "P01").mkdir(parents=True)
    (tmp_path / "annotations").mkdir()
    shutil.copy(shared_data / "videos" / "flipping_a_pancake.mkv", tmp_path / "videos" / "P01" / "P01_101.mkv")
    rows = [
        "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame"
    ]
    rows += [
        f"P01_101_{i},P01,P01_101,00:00:0{i}.500,00:00:0{i}.00,00:00:0{i + 2}.50,{max(1, i * 50)},{i * 50 + 125}"
        for i in range(8)
    ]
    (tmp_path / "annotations" / "EPIC_100_test_timestamps.csv").write_text("\n".join(rows) + "\n")
    assert command("data", "flow", "--data", tmp_path).status == 0
    out = tmp_path / "real.npz"
    words = ["--split", "test", "--protocol", "small.yaml", "--data", tmp_path, "-o", out]
    done = command("predict", run, *words)
    assert done.status == 0, done.err
    predictions = read_predictions(out)
    assert len(predictions) == 8
    assert len({row.tobytes() for row in predictions.verb_logprobs}) == 8, "every segment its own prediction"


def test_periodic_validation_keeps_the_best_by_the_recipes_rule(command, kitchens, work) -> None:
    """With one of the two target lists alone; a run's folder then means its best checkpoint."""
    words = [
        "train.stages.0.steps=2", "train.stages.1.steps=4", "train.stages.0.source_batch=5",
        "train.stages.1.source_batch=5", "train.stages.1.target_batch=5", "model.width=0.0625", "data.workers=0",
        "data.target=[EPIC_100_validation.csv]", "evaluation.protocol=small.yaml", "train.evaluate_every=2",
        "train.select=all_verb_accuracy_at_5", "--data", kitchens, "--out", "outputs/best",
    ]  # fmt: skip
    done = command("train", "recipes/tiny/adversarial.yaml", *words)
    assert done.status == 0, done.err
    assert "wrote outputs/best/best.pth" in done.out
    lines = [json.loads(line) for line in (work / "outputs" / "best" / "metrics.jsonl").read_text().splitlines()]
    scores = {line["step"]: line["all_verb_accuracy_at_5"] for line in lines if line["kind"] == "validation"}
    assert sorted(scores) == [2, 4, 6]
    best = torch.load(work / "outputs" / "best" / "best.pth", weights_only=True)
    first_best = min(step for step, score in scores.items() if score == max(scores.values()))
    assert best["step"] == first_best
    assert best["scores"]["all_verb_accuracy_at_5"] == max(scores.values())
    done = command("validate", "best", "--data", kitchens, "--protocol", "small.yaml", "--json", "best.json")
    assert done.status == 0, done.err
    again = json.loads((work / "best.json").read_text())["best"]["scores"]["all_verb_accuracy_at_5"]
    assert again == max(scores.values()), "periodic validation is the same code as validate"


def test_a_model_trained_in_half_precision_predicts_in_it(command, kitchens, work, run) -> None:
    """The scores are those that Fabric, which trains, gives: of the run's own evaluations."""
    checkpoint = torch.load(run / "last.pth", weights_only=True)
    checkpoint["recipe"]["train"]["precision"] = "bf16-mixed"
    torch.save(checkpoint, work / "half.pth")
    words = ["--split", "validation", "--protocol", "small.yaml", "--data", kitchens, "--device", "cpu"]
    for name in ("half.pth", run / "last.pth"):
        done = command("predict", name, *words, "-o", f"{Path(name).stem}_of_half.npz")
        assert done.status == 0, done.err
    found, full = (read_predictions(work / f"{name}_of_half.npz") for name in ("half", "last"))
    trained = resolve_target(str(work / "half.pth")).load(torch.device("cpu"))
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    root = DataRoot(kitchens)
    segments = root.segments("EPIC_100_validation.csv")
    store = store_of(trained.recipe, root, segments)
    loader = view_loader(trained.recipe, root, segments, parse_views(trained.recipe.evaluation.views), store)
    expected = predict(fabric.setup(trained.model), loader, len(loader), torch.device("cpu"), "as in training")
    np.testing.assert_array_equal(found.verb_logprobs, expected.select(found.narration_ids).verb_logprobs)
    assert not np.array_equal(found.verb_logprobs, full.verb_logprobs)
