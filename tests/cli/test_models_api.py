"""Training and models as a notebook uses them, and how often their commands read a checkpoint."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import epicsub
from epicsub.data.annotations import read_segments
from epicsub.errors import DataError, InferenceError
from epicsub.inference.targets import resolve_target
from epicsub.predictions import read_predictions
from epicsub.training import checkpoint as checkpoints

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all


def test_a_clip_of_a_video_is_predicted_as_its_list_is(command, kitchens: Path, run: Path, work: Path) -> None:
    """The tiny MMIR model reads RGB and flow, which is found in the data root around the video."""
    words = ("--split", "validation", "--protocol", "small.yaml", "--data", kitchens, "--device", "cpu")
    done = command("predict", run, *words, "-o", "listed.npz")
    assert done.status == 0, done.err
    listed = read_predictions(work / "listed.npz")
    model = epicsub.load_model(run, data=kitchens, device="cpu")
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    segment = read_segments(kitchens / "annotations" / "EPIC_100_validation.csv")[3]
    video = next((kitchens / "videos").rglob(f"{segment.video_id}.*"))
    found = model.predict_clip(video, segment.start, segment.stop)
    row = listed.narration_ids.tolist().index(segment.narration_id)
    np.testing.assert_allclose(found.verb_logprobs, listed.verb_logprobs[row], atol=1e-4)
    np.testing.assert_allclose(found.noun_logprobs, listed.noun_logprobs[row], atol=1e-4)
    best = found.top("verb")
    assert len(best) == 5
    assert best[0].id == int(found.verb_logprobs.argmax())
    assert best[0].name == found.verb_names[best[0].id]
    assert best[0].probability == pytest.approx(float(np.exp(found.verb_logprobs.max())))
    nouns = [noun.probability for noun in found.top("noun", 3)]
    assert nouns == sorted(nouns, reverse=True)


def test_a_video_elsewhere_needs_its_flow(kitchens: Path, run: Path, tmp_path: Path) -> None:
    model = epicsub.load_model(run, data=tmp_path, device="cpu")
    segment = read_segments(kitchens / "annotations" / "EPIC_100_validation.csv")[0]
    video = next((kitchens / "videos").rglob(f"{segment.video_id}.*"))
    moved = tmp_path / f"mine{video.suffix}"
    moved.write_bytes(video.read_bytes())
    with pytest.raises(InferenceError, match=r"reads flow, and there is none for .*mine"):
        model.predict_clip(moved, segment.start, segment.stop)
    with pytest.raises(DataError, match="no such video"):
        model.predict_clip(tmp_path / "gone.mp4", 0.0, 1.0)
    flow = next((kitchens / "flow").rglob(f"{segment.video_id}.*"))
    found = model.predict_clip(moved, segment.start, segment.stop, flow=flow)
    expected = epicsub.load_model(run, data=kitchens, device="cpu").predict_clip(video, segment.start, segment.stop)
    np.testing.assert_allclose(found.verb_logprobs, expected.verb_logprobs, atol=1e-6)
    assert found.top("verb", 1)[0].name == str(found.top("verb", 1)[0].id)  # no tables there


def test_train_logs_and_returns_the_checkpoint(command, kitchens, work, short, monkeypatch, caplog) -> None:
    monkeypatch.chdir(work)
    settings = [word for word in short if ".steps=" not in word]
    settings += ["train.stages.0.steps=1", "train.stages.1.steps=1"]
    with caplog.at_level("INFO", logger="epicsub"):
        path = epicsub.train("tiny/mmir_i3d", settings, out="outputs/notebook", data=kitchens)
        assert path == Path("outputs/notebook/last.pth")
        assert "48 labelled source segments" in caplog.text
        epicsub.train("tiny/mmir_i3d", settings, out="outputs/notebook", data=kitchens)
    assert "resuming from step 2 of 2" in caplog.text
    predicted = epicsub.predict(path, "test", protocol="small.yaml", data=kitchens, device="cpu")
    assert len(predicted) == 20


@pytest.mark.parametrize(
    ("words", "reads"),
    [
        (["validate", "one.pth", "two.pth", "--protocol", "small.yaml"], 2),
        (["predict", "one.pth", "--split", "test", "--protocol", "small.yaml", "-o", "read_once.npz"], 1),
        (["submit", "--ensemble", "one.pth", "two.pth", "three.pth", "--protocol", "small.yaml", "--name", "once"], 3),
    ],
)
def test_a_checkpoint_is_read_once_per_command(
    command, kitchens, run, work, monkeypatch, words: list[str], reads: int
) -> None:
    for name in ("one", "two", "three"):
        (work / f"{name}.pth").write_bytes((run / "last.pth").read_bytes())
    counts: Counter[str] = Counter()
    load = torch.load

    def counting(path, *more, **settings):
        counts[str(path)] += str(path).endswith(".pth")
        return load(path, *more, **settings)

    monkeypatch.setattr(checkpoints.torch, "load", counting)
    done = command(*words, "--data", kitchens, "--device", "cpu")
    assert done.status == 0, done.err
    assert {Path(path).name: count for path, count in counts.items() if count} == dict.fromkeys(
        ["one.pth", "two.pth", "three.pth"][:reads], 1
    )


def test_a_target_of_predictions_has_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(InferenceError, match=r"x.npz: holds predictions; name a checkpoint \(.pth\) or a run"):
        resolve_target(str(tmp_path / "x.npz")).load(torch.device("cpu"))
