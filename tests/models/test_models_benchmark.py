"""The benchmark of the models: its published figures hold for today's networks, and it runs in every mode."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import models
from benchmarks.models import models_of
from benchmarks.models_published import PUBLISHED, WITHIN, count_as_published, published_of

ROOT = Path(__file__).parents[2]
NETWORKS = models_of(ROOT / "recipes")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_published_multiplications(name: str) -> None:
    published = published_of(NETWORKS[name])
    assert published is not None
    assert abs(count_as_published(NETWORKS[name], published) / published.gmac - 1) <= WITHIN


def test_every_published_figure_is_of_a_recipe() -> None:
    assert {published_of(path) for path in NETWORKS.values()} == set(PUBLISHED.values())


def test_it_measures_every_mode_and_keeps_what_it_measured_before(tmp_path: Path) -> None:
    for name in ("frame_mean", "resnet_bilstm"):
        run(tmp_path, "--recipes", "recipes/tiny", "--only", name)
    figures = json.loads((tmp_path / "models.json").read_text())["figures"]
    for name in ("frame_mean", "resnet_bilstm"):
        for mode in ("plain", "fp32", "bf16", "compiled"):
            for way in ("forward", "train"):
                assert figures[f"{name}_{mode}_{way}_clips_per_second"] > 0
        assert figures[f"{name}_parameters"] > 0


def test_figures_of_two_devices_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "models.json"
    models.write_figures(path, {"x3d_gmac": 1.0}, notes={}, settings={"device": "cuda", "batch": 1})
    held = path.read_text()
    monkeypatch.setattr(sys, "argv", ["models.py", "--recipes", str(tmp_path), "--json", str(path)])
    with pytest.raises(SystemExit):
        models.main()
    assert "holds figures of {'device': 'cuda'}, this run would add some of {'device': 'cpu'" in capsys.readouterr().err
    assert path.read_text() == held


def run(folder: Path, *arguments: str) -> None:
    # without dynamo, `compiled` runs the uncompiled model: compiling takes a minute
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TORCHDYNAMO_DISABLE": "1"}
    modes = ("--modes", "plain", "fp32", "bf16", "compiled", "--steps", "1", "--json", str(folder / "models.json"))
    command = [sys.executable, "benchmarks/models.py", *arguments, *modes]
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
