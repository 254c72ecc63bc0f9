"""The loop's pieces: schedules, metrics after a resume, what differs between recipes, a checkpoint's provenance."""

import math
from pathlib import Path

import pytest
import torch

from epicsub.errors import TrainingError
from epicsub.recipe import Stage, load_recipe
from epicsub.training.build import model_of, scheduled_rate
from epicsub.training.checkpoint import Checkpoint, differences, load_checkpoint, save_checkpoint
from epicsub.training.count import clip_work, weightless_model, work_of
from epicsub.training.loop import is_scheduled
from epicsub.training.run_folder import RunLog, read_metrics
from epicsub.training.step import seed_step


def test_cosine_with_warm_up_passes_through_its_landmarks() -> None:
    stage = Stage(steps=110, learning_rate=0.4, source_batch=1, schedule="cosine", warmup_steps=10)
    assert scheduled_rate(stage, 0) == pytest.approx(0.04)
    assert scheduled_rate(stage, 9) == pytest.approx(0.4)
    assert scheduled_rate(stage, 10) == pytest.approx(0.4)
    assert scheduled_rate(stage, 60) == pytest.approx(0.2)
    assert scheduled_rate(stage, 109) == pytest.approx(0.2 * (1 + math.cos(math.pi * 0.99)))


def test_constant_rate_is_constant() -> None:
    stage = Stage(steps=10, learning_rate=0.4, source_batch=1)
    assert {scheduled_rate(stage, step) for step in range(10)} == {0.4}


@pytest.mark.parametrize(("step", "expected"), [(3, True), (4, False), (6, True), (7, True)])
def test_due_at_multiples_and_at_the_end(step: int, expected: bool) -> None:
    assert is_scheduled(3, step, 7) is expected
    assert is_scheduled(None, step, 7) is False


def test_metrics_after_the_resumed_step_and_half_lines_are_dropped(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for step in (1, 2, 3):
        log.write("train", step, {"loss": 1.0 / step})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    RunLog(tmp_path, resumed_step=2).close()
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]


def test_differences_name_leaves() -> None:
    before = {"a": {"b": [1, 2]}, "c": 1}
    assert differences(before, {"a": {"b": [1, 3]}, "c": 1}) == {"a.b.1": (2, 3)}
    assert differences(before, {"a": {"b": [1]}, "c": 1}) == {"a.b": ([1, 2], [1])}
    assert differences(before, before) == {}


def test_dropout_differs_by_step_process_and_seed_and_a_methods_draws_by_step_and_seed() -> None:
    dropout, methods = set(), set()
    for seed in range(3):
        for step in range(3):
            for rank in range(2):
                generator = seed_step(seed, step, rank)
                dropout.add(torch.rand(1).item())
                methods.add(torch.rand(1, generator=generator).item())
    assert (len(dropout), len(methods), len(dropout | methods)) == (18, 9, 27)


def test_a_checkpoint_tells_its_story_and_loads_as_weights_only(tmp_path: Path, repository: Path) -> None:
    recipe = load_recipe(repository / "recipes" / "tiny" / "source_only.yaml", ["model.width=0.0625"]).recipe
    model = model_of(recipe, weights=False)
    told = Checkpoint(
        recipe=recipe.model_dump(mode="json"), seed=3, step=7, steps=9, lists={"a.csv": "00"}, scores={"x": 1.0},
        model=model.state_dict(), commit="abc",
    )  # fmt: skip
    save_checkpoint(tmp_path / "x.pth", told)
    torch.load(tmp_path / "x.pth", weights_only=True)
    read = load_checkpoint(tmp_path / "x.pth")
    assert (read.seed, read.step, read.steps, read.commit, read.lists) == (3, 7, 9, "abc", {"a.csv": "00"})
    assert not read.finished
    assert read.model.keys() == told.model.keys()
    save_checkpoint(tmp_path / "other.pth", told)
    assert (tmp_path / "other.pth").read_bytes() == (tmp_path / "x.pth").read_bytes()


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    torch.save({"epicsub_checkpoint": 1, "classes": {"verb": 8, "noun": 0}}, tmp_path / "x.pth")
    with pytest.raises(TrainingError, match="8"):
        load_checkpoint(tmp_path / "x.pth")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's count of memory")
def test_weights_stay_on_the_disk_until_a_model_takes_them(tmp_path: Path) -> None:
    def held() -> int:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    large = {"w": torch.ones(20_000_000)}
    save_checkpoint(tmp_path / "x.pth", Checkpoint(recipe={}, step=1, steps=1, lists={}, scores={}, model=large))
    before = held()
    read = load_checkpoint(tmp_path / "x.pth", for_resuming=False)
    assert held() - before < 20_000, "kB, of the 80,000 of the weights"
    assert torch.equal(read.model["w"], large["w"])


PLACES = {  # channels and places of what each max pool of the I3D puts out, at 16 x 224 x 224
    "2a": (64, 8 * 56**2), "3a": (192, 8 * 28**2), "4a": (480, 4 * 14**2), "5a": (832, 2 * 7**2),
    "3b": (192, 8 * 28**2), "3c": (256, 8 * 28**2), "4b": (480, 4 * 14**2), "4c": (512, 4 * 14**2),
    "4d": (512, 4 * 14**2), "4e": (512, 4 * 14**2), "4f": (528, 4 * 14**2), "5b": (832, 2 * 7**2),
    "5c": (832, 2 * 7**2),
}  # fmt: skip


def test_places_of_max_pooling_are_counted_with_64_bits_in_every_precision(repository: Path) -> None:
    words = ["model.weights={rgb: null, flow: null}"]
    recipe = load_recipe(repository / "recipes" / "mmir_i3d.yaml", words).recipe
    model = weightless_model(recipe, [])
    clips = {name: torch.empty(1, channels, 16, 224, 224) for name, channels in {"rgb": 3, "flow": 2}.items()}
    work = clip_work(model, clips)
    places = 2 * 8 * sum(channels * count for channels, count in PLACES.values())
    assert work.whole == places == pytest.approx(125.66 * 2**20, rel=1e-4)
    step = work_of(recipe, model, recipe.train.stages[1], work)
    assert step.kept_in_half == pytest.approx(80 * (places + (work.kept - places) / 2))
