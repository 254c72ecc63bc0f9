"""Kept predictions are used only when they are whole and of exactly what is asked for."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.data.sampling import parse_views
from epicsub.inference.cache import Made, cache_file, code_files, find_predictions, keep_predictions, key_of
from epicsub.io import sha256
from epicsub.predictions import Predictions, read_predictions
from epicsub.recipe import load_recipe

SEGMENTS = [Segment(f"P01_01_{n}", "P01", "P01_01", 0.0 + n, 1.0 + n, 1, 2, None, None) for n in range(3)]


@pytest.fixture
def made() -> Made:
    rng = np.random.default_rng(0)
    predictions = Predictions.from_scores(
        [segment.narration_id for segment in SEGMENTS], rng.normal(size=(3, 97)), rng.normal(size=(3, 300))
    )
    return Made(predictions, 1.5, 6.0)


@pytest.fixture
def asked(tmp_path: Path, repository: Path):
    """A call of `key_of` with what it was given changed."""
    (tmp_path / "last.pth").write_bytes(b"weights")
    for kind in ("videos", "flow"):
        (tmp_path / kind / "P01").mkdir(parents=True)
        (tmp_path / kind / "P01" / "P01_01.mp4").write_bytes(b"video")
    recipe = load_recipe(repository / "recipes/tiny/mmir_i3d.yaml").recipe

    def key(**changes):
        given = {
            "weights": sha256(tmp_path / "last.pth"), "recipe": recipe, "segments": SEGMENTS,
            "root": DataRoot(tmp_path), "prepared": (), "views": parse_views("1x1"), "stop": 0,
            "device": torch.device("cpu"),
        }  # fmt: skip
        return key_of(**given | changes)

    key.recipe = recipe
    return key


def test_kept_and_found(tmp_path, asked, made, caplog):
    path = cache_file(tmp_path / "last.pth", asked())
    assert find_predictions(path, asked()) is None
    keep_predictions(path, asked(), made)
    found = find_predictions(path, asked())
    assert (found.seconds, found.views) == (1.5, 6.0)
    np.testing.assert_array_equal(found.predictions.verb_logprobs, made.predictions.verb_logprobs)
    assert read_predictions(path).narration_ids.tolist() == found.predictions.narration_ids.tolist()
    assert not caplog.records


def test_the_order_of_the_list_and_what_prediction_ignores_are_no_other_key(asked):
    assert asked(segments=SEGMENTS[::-1]) == asked()
    data = asked.recipe.data.model_copy(update={"workers": 7, "root": "elsewhere"})
    assert asked(recipe=asked.recipe.model_copy(update={"data": data})) == asked()


def test_whatever_changes_a_number_is_another_key(tmp_path, asked):
    keys = [asked()]
    keys.append(asked(views=parse_views("1x1+flip")))
    keys.append(asked(stop=1))
    keys.append(asked(prepared=("rgb",)))
    keys.append(asked(device=torch.device("cuda")))
    keys.append(asked(segments=SEGMENTS[:2]))
    keys.append(asked(segments=[replace(SEGMENTS[0], stop=1.25), *SEGMENTS[1:]]))
    data = asked.recipe.data.model_copy(update={"frames": 32})
    keys.append(asked(recipe=asked.recipe.model_copy(update={"data": data})))
    video = tmp_path / "flow" / "P01" / "P01_01.mp4"
    video.write_bytes(b"longer video")
    keys.append(asked())
    os.utime(video, ns=(1, 1))
    keys.append(asked())
    video.unlink()
    keys.append(asked())
    (tmp_path / "last.pth").write_bytes(b"Weights")
    keys.append(asked())
    names = {cache_file(tmp_path / "last.pth", key).name for key in keys}
    assert len(names) == len(keys)


def test_source_code_is_part_of_the_key(asked, monkeypatch):
    before = asked()["code"]
    monkeypatch.setattr("epicsub.inference.cache._code", lambda: "other")
    assert asked()["code"] != before
    files = {file.name for file in code_files()}
    assert {"pyav.py", "clips.py", "i3d.py", "build.py", "predict.py", "foreign.py"} <= files


def flipped(path, asked, made):
    """One bit of an array, with the zip's own checksum made right."""
    with np.load(path) as archive:
        content = {name: archive[name] for name in archive.files}
    content["verb_logprobs"][1, 2] += 1e-6
    np.savez(path, **content)


def cut(path, asked, made):
    path.write_bytes(path.read_bytes()[:-40])


def swapped(path, asked, made):
    """A good file of other views under this name."""
    other = path.with_name("other.npz")
    keep_predictions(other, asked(views=parse_views("2x1")), made)
    other.replace(path)


def other_header(path, asked, made):
    arrays = {name: getattr(made.predictions, name) for name in ("narration_ids", "verb_logprobs", "noun_logprobs")}
    np.savez(path, header=np.array(json.dumps({"key": asked()})), **arrays)


@pytest.mark.parametrize("damage", [flipped, cut, swapped, other_header])
def test_a_damaged_file_is_never_used_and_is_named(tmp_path, asked, made, damage, caplog):
    path = cache_file(tmp_path / "last.pth", asked())
    keep_predictions(path, asked(), made)
    damage(path, asked, made)
    assert find_predictions(path, asked()) is None
    assert str(path) in caplog.text
    assert "made again" in caplog.text


def test_a_folder_that_cannot_be_written_is_logged(tmp_path, asked, made, caplog):
    (tmp_path / "predictions").write_text("a file in the folder's place")
    keep_predictions(cache_file(tmp_path / "last.pth", asked()), asked(), made)
    assert "cannot be kept" in caplog.text
