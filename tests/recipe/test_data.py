"""Recipes on features: what they must and must not say."""

from pathlib import Path

import pytest

from epicsub.recipe import load_recipe
from tests.recipe.conftest import Refusal, Small

ON_FEATURES = """\
name: small
description: A right recipe on features
seed: 1
supervision: {pretraining: 0, labels: 3, data: 4}
data:
  source: [train.csv]
  target: [validation.csv]
  modalities: [rgb, audio]
  features: features/i3d
model:
  name: feature_heads
  dims: {rgb: 1024, audio: 512}
  bottleneck: 256
adaptation:
  method: adversarial
train:
  stages:
    - {steps: 10, learning_rate: 1e-3, source_batch: 8, target_batch: 8}
  optimizer: {name: sgd, weight_decay: 0}
  log_every: 1
  checkpoint_every: 5
  evaluate_every: null
  select: last
evaluation: {batch_size: 4}
"""


def test_one_place_stands_for_every_modality(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(ON_FEATURES)
    loaded = load_recipe(path)
    assert loaded.recipe.data.features == {"rgb": "features/i3d", "audio": "features/i3d"}
    (tmp_path / "again.yaml").write_text(loaded.to_yaml())
    assert load_recipe(tmp_path / "again.yaml").recipe == loaded.recipe
    two = load_recipe(path, ["data.features={rgb: one, audio: /other.pkl}"]).recipe
    assert two.data.features == {"rgb": "one", "audio": "/other.pkl"}


REFUSED = [
    (["data.frames=16"], "data.frames: is 16, but data.features has no video to cut: leave it out"),
    (["data.workers=2"], "data.workers: is 2, but data.features has no video to cut: leave it out"),
    (["data.features=null"], None),
    (
        ["data.features=3"],
        "data.features: is 3, must be a section with the keys rgb, flow, hand_crop, audio, hands, objects",
    ),
    (["data.features={rgb: x}"], "data.features.audio: missing, data.modalities has it: name its features"),
    (
        ["data.features={rgb: x, audio: y, flow: z}"],
        "data.features.flow: is 'z', but data.modalities has no flow: leave it out",
    ),
    (
        ["model.dims={rgb: 4}"],
        "model.dims.audio: missing, data.modalities has it: write the length of its vectors",
    ),
    (["model={name: i3d, weights: {rgb: null, audio: null}}"], "model.name: is i3d, which reads videos"),
    (
        ["model.bottleneck=null"],
        "model.bottleneck: is null, so adaptation.method adversarial has nothing to change: give the layer that it "
        "aligns its units",
    ),
    (["evaluation.views=5x1"], "evaluation.views: is '5x1', but data.features were made of their views: write 1x1"),
]


@pytest.mark.parametrize(("overrides", "text"), REFUSED)
def test_refused(refusal: Refusal, overrides: list[str], text: str | None) -> None:
    lines = refusal(ON_FEATURES, *overrides)
    if text is None:  # a recipe on videos lacks much
        missing = {f"data.{key}" for key in ("frames", "sampling", "short_side", "size", "augment")}
        keys = [line.partition("  ")[2].partition(":")[0] for line in lines[:-1]]
        assert sorted(keys) == sorted({*missing, "data.modalities.1", "data.features"})
    else:
        assert len(lines) == 2
        assert text in lines[0]


def test_missing_settings_of_videos_are_named_with_their_purpose(refusal: Refusal, small: Small) -> None:
    assert refusal(small({"  frames: 16\n": "", "  size: 48\n": ""})) == [
        "small.yaml:5  data.frames: missing, it must be given: Frames of a clip",
        "small.yaml:5  data.size: missing, it must be given: Pixels of the square that the model sees",
        "(2 problems, nothing was started)",
    ]


def test_feature_heads_need_features(refusal: Refusal, small: Small) -> None:
    model = "  name: feature_heads\n  dims: {rgb: 8, flow: 8}\n  bottleneck: 4\n"
    text = small({"  name: i3d\n  weights:\n    rgb: null\n    flow: null\n": model})
    (line, _) = refusal(text)
    assert line.endswith("data.features: missing, model.name feature_heads reads features: name their folder or file")
