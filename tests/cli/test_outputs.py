"""Where commands write: to standard output, and under `~`."""

import json


def test_json_on_standard_output_stands_alone(command, kitchens, capfd):
    done = command("data", "check", "--data", kitchens, "--json", "-")
    assert done.status == 0, done.err
    assert json.loads(capfd.readouterr().out)["files"]
    assert not done.out
    assert "all segments can be read" in done.err


def test_a_tilde_is_the_home_folder_wherever_a_path_is_given(command, kitchens, run, work, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "kitchens").symlink_to(kitchens)
    (tmp_path / "run").symlink_to(run)
    (tmp_path / "skip.txt").touch()
    for name in ("small.yaml", "recipes/tiny/source_only.yaml"):
        (tmp_path / name.rpartition("/")[2]).write_text((work / name).read_text())
    short = (
        "data.modalities=[rgb]", "model.weights={rgb: null}", "model.width=0.0625", "data.workers=0",
        "train.stages=[{steps: 1, learning_rate: 1e-3, source_batch: 4, target_batch: 0}]",
    )  # fmt: skip
    named = ("data.root=~/kitchens", "data.skip=~/skip.txt", "evaluation.protocol=~/small.yaml", "--out=~/new")
    listed = ("--protocol", "~/small.yaml", "--data=~/kitchens")
    for words in (
        ("train", "~/source_only.yaml", *short, *named),
        ("predict", "~/run", "--split", "validation", "--tta", "1x1", "-o", "~/out/p.npz", *listed),
        ("validate", "~/out/p.npz", "--json=~/out/v.json", "--report=~/out/page", "--skip=~/skip.txt", *listed),
        ("data", "features", "~/new", "-o", "~/out/features", "--tta", "1x1", "--list", "EPIC_100_validation.csv",
         "--data=~/kitchens"),
    ):  # fmt: skip
        done = command(*words)
        assert done.status == 0, done.err
    assert (tmp_path / "new/last.pth").is_file()
    assert {"p.npz", "v.json", "page", "features"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert not [path for folder in (work, kitchens) for path in folder.rglob("~*")]
