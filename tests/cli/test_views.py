"""Predictions are kept and reused, and views left out, by the commands a user types."""

import os
import shutil

import numpy as np
import pytest

from epicsub.predictions import read_predictions

pytestmark = pytest.mark.xdist_group("cli")


@pytest.fixture
def own(run, work):
    """A copy of the run without kept predictions."""
    folder = work / "outputs" / "own"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("predictions"))
    return folder


def predict(command, kitchens, name, *more):
    words = ["--split", "test", "--data", kitchens, "--protocol", "small.yaml", "-o", name]
    done = command("predict", "own", *words, *more)
    assert done.status == 0, done.err
    return done.err


def test_predictions_are_reused_until_something_changes(command, kitchens, own, work):
    assert "taken from" not in predict(command, kitchens, "first.npz")
    told = predict(command, kitchens, "second.npz")
    assert "own (1x1): 20 predictions taken from outputs/own/predictions/" in told
    first, second = (read_predictions(work / name) for name in ("first.npz", "second.npz"))
    np.testing.assert_array_equal(first.noun_logprobs, second.noun_logprobs)
    assert "taken from" not in predict(command, kitchens, "views.npz", "--tta", "1x1@0.8")
    [kept] = [path for path in (own / "predictions").iterdir() if path.name in told]
    kept.write_bytes(kept.read_bytes()[:1000])
    assert "damaged" in predict(command, kitchens, "third.npz")
    assert "taken from" in predict(command, kitchens, "third.npz")
    video = next((kitchens / "videos").rglob("P0[5-9]_1*.*"))
    os.utime(video)
    assert "taken from" not in predict(command, kitchens, "fourth.npz")
    np.testing.assert_array_equal(read_predictions(work / "fourth.npz").verb_logprobs, first.verb_logprobs)


def test_the_same_scores_from_kept_predictions(command, kitchens, own, work):
    words = ["own", "--data", kitchens, "--protocol", "small.yaml", "--json", "kept.json"]
    assert command("validate", *words).status == 0
    before = (work / "kept.json").read_text()
    again = command("validate", *words)
    assert "24 predictions taken from" in again.err
    assert (work / "kept.json").read_text() == before


def test_stopping_keeps_the_best_classes(command, kitchens, own, work):
    predict(command, kitchens, "all.npz", "--tta", "3x1+flip")
    told = predict(command, kitchens, "some.npz", "--tta", "3x1+flip", "--stop", "1")
    assert "clip 1 of 3, 20 segments" in told
    every, some = (read_predictions(work / name) for name in ("all.npz", "some.npz"))
    np.testing.assert_array_equal(every.narration_ids, some.narration_ids)
    for kind in ("verb_logprobs", "noun_logprobs"):
        np.testing.assert_array_equal(getattr(every, kind).argmax(1), getattr(some, kind).argmax(1))


def test_frame_rates_need_a_stride(command, kitchens, run, work):
    common = ["train.log_every=1", "train.stages.0.steps=2", "data.workers=0", "--data", kitchens]
    done = command("train", "recipes/tiny/resnet_bilstm.yaml", *common, "--out", "outputs/resnet_bilstm")
    assert done.status == 0, done.err
    words = ["--split", "test", "--data", kitchens, "--protocol", "small.yaml", "-o", "never.npz", "--tta", "2x1@1,2"]
    done = command("predict", "resnet_bilstm", *words)
    assert done.status == 2
    assert "views 2x1@1,2: uniform sampling has no stride to multiply" in done.err
    assert not (work / "never.npz").exists()
