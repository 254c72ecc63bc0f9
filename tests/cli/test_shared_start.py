"""A run that begins with its second stage ends where the whole run does, from the end of a first stage or another's."""

from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

STEPS = ["train.stages.0.steps=4", "train.stages.1.steps=4", "train.log_every=1", "train.checkpoint_every=100"]
ARMS = {
    "source_only": ["recipes/tiny/features_source_only.yaml"],
    "mmir": ["recipes/tiny/features_mmir.yaml", "adaptation.replay_batch=8", "adaptation.replay_size=20"],
    "mm_sada": [
        "recipes/tiny/features_adversarial.yaml",
        "adaptation={method: mm_sada, correspondence_weights: [0.0, 1.0]}",
        "train.stages.1.source_batch=48",
    ],
    "mcd": ["recipes/tiny/features_adversarial.yaml", "adaptation={method: mcd}"],
}


def train(command, runs_root: Path, arm: str, out: str, *more: str):
    words = {word.partition("=")[0]: word for word in (*ARMS[arm], *STEPS, *more)}.values()  # the last of a key counts
    return command("train", *words, "--data", runs_root, "--out", runs_root / out)


@pytest.fixture(scope="module")
def first(command, runs_root: Path) -> Path:
    """The end of the first stage, which a run of source only leaves."""
    done = train(command, runs_root, "source_only", "whole_source_only")
    assert done.status == 0, done.err
    path = runs_root / "whole_source_only" / "stage_1.pth"
    assert torch.load(path, weights_only=True)["step"] == 4
    return path


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_from_the_shared_start_is_the_whole_arm(command, runs_root: Path, first: Path, arm: str) -> None:
    """To the bit, where the first stage is the same; MCD has another network in it, and starts as far trained."""
    done = train(command, runs_root, arm, f"from_{arm}", f"train.start={first}")
    assert done.status == 0, done.err
    assert not (runs_root / f"from_{arm}" / "stage_1.pth").exists()
    if arm != "source_only":
        assert train(command, runs_root, arm, f"whole_{arm}").status == 0
    one, whole = (torch.load(runs_root / f"{way}_{arm}" / "last.pth", weights_only=True) for way in ("from", "whole"))
    assert one["step"] == whole["step"] == 8
    lines = [(runs_root / f"{way}_{arm}" / "metrics.jsonl").read_text().splitlines() for way in ("from", "whole")]
    assert len(lines[0]) == 4
    if arm == "mcd":
        shared = torch.load(first, weights_only=True)["model"]
        assert all(f"first.{name}" in one["model"] for name in shared)
        return
    assert lines[0] == lines[1][4:]
    for name, value in whole["model"].items():
        assert torch.equal(one["model"][name], value), name


def test_the_second_classifier_starts_as_far_trained_and_another(
    runs_root: Path, first: Path, repository: Path
) -> None:
    from epicsub.recipe import load_recipe
    from epicsub.training.build import model_of
    from epicsub.training.start import load_start, start_of

    words = [*ARMS["mcd"][1:], *STEPS, f"train.start={first}"]
    recipe = load_recipe(repository / "recipes/tiny/features_adversarial.yaml", words).recipe
    torch.manual_seed(0)
    model = model_of(recipe, weights=False)
    random = {name: value.clone() for name, value in model.second.named_parameters()}
    load_start(model, start_of(recipe))
    for name, value in model.second.named_parameters():
        modality, rest = name.split(".", 1)
        trained = dict(model.first.named_parameters())[f"streams.{modality}.{rest}"]
        torch.testing.assert_close(value, trained + random[name])


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        (["train.stages.0.learning_rate=0.5"], ["train.stages.0.learning_rate: 0.001 there, 0.5 here"]),
        (["seed=9", "model.bottleneck=64"], ["seed: 1 there, 9 here", "model.bottleneck: 128 there, 64 here"]),
        (["train.stages.0.steps=5"], ["it is of step 4, the first stage ends at step 5"]),
    ],
)
def test_another_start_is_refused_with_all_that_differs(
    command, runs_root: Path, first: Path, words: list[str], problems: list[str]
) -> None:
    done = train(command, runs_root, "mmir", "refused", f"train.start={first}", *words)
    assert done.status == 2
    for problem in (f"{first}: is not the end of this recipe's first stage", *problems):
        assert problem in done.err


def test_a_start_that_is_not_there_or_leaves_nothing_is_refused(command, runs_root: Path, first: Path) -> None:
    done = train(command, runs_root, "mmir", "refused", "train.start=nowhere.pth")
    assert done.status == 2
    assert "train.start: nowhere.pth: no such checkpoint" in done.err
    one = "train.stages=[{steps: 4, learning_rate: 1e-3, source_batch: 40}]"
    done = command(
        "train", ARMS["source_only"][0], one, f"train.start={first}", "--data", runs_root, "--out", runs_root / "r"
    )
    assert done.status == 2
    assert "the end of the first stage, but there is no second: leave it out" in done.err
