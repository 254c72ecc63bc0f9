"""The hand-washing clips as a data root: segments of two seconds, one sink labelled, scores by video."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def test_the_shared_clips_give_the_counts_of_their_readme(shared_data: Path, tmp_path: Path) -> None:
    from handwash_data import HALVES, HELDOUT, TARGET, TRAIN, make_root

    root = make_root(shared_data / "handwash", tmp_path / "root")
    lists = {name: root.segments(name) for name in (TRAIN, HELDOUT, TARGET, *HALVES.values())}
    assert [len(segments) for segments in lists.values()] == [419, 89, 146, 78, 68]
    kitchens = {name: {segment.participant_id for segment in segments} for name, segments in lists.items()}
    assert kitchens[TRAIN] == {f"P{video:02d}" for video in range(1, 8)}
    assert (kitchens[HELDOUT], kitchens[TARGET]) == ({"P08"}, {"P09", "P10"})
    info = root.video_info()
    for segment in (one for name in (TRAIN, HELDOUT, TARGET) for one in lists[name]):
        assert segment.stop - segment.start == 2.0
        assert segment.stop <= info[segment.video_id].duration + 0.05
        assert root.video(segment.video_id) is not None
    assert {segment.verb_class for segment in lists[TRAIN]} == set(range(7))
    assert {segment.noun_class for segment in lists[TRAIN]} == set(range(3))


def test_the_original_folders_give_the_same_clips_once_each(shared_data: Path, tmp_path: Path) -> None:
    from handwash_data import find_clips

    rows = pd.read_csv(shared_data / "handwash" / "clips.csv", dtype=str)
    original = tmp_path / "Mock_HandWashDataset"
    for place, row in enumerate(rows.head(9).itertuples()):
        step = f"Step_{row.step}" + ("" if row.hand == "both" else f"_{row.hand.capitalize()}")
        sink = ("01" if row.sink == "steel" else "02") if place % 2 else ("_01" if row.sink == "steel" else "_02")
        path = original / ("train" if place % 3 else "test") / step / f"HandWash_{row.video}_A_{row.action}_G{sink}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(shared_data / "handwash" / row.file)
    copy = (
        original / "validation" / "Step_1" / "HandWash_008_A_01_G01.mp4"
    )  # a byte-identical duplicate under another name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.symlink_to(shared_data / "handwash" / rows.file[0])
    other = original / "test" / "Step_1" / "HandWash_019_A_01_G05.mp4"  # a third sink
    other.parent.mkdir(parents=True, exist_ok=True)
    other.symlink_to(shared_data / "handwash" / rows.file[1])
    expected = [clip for clip in find_clips(shared_data / "handwash") if clip.path.name in set(rows.file[:9])]
    found = find_clips(original)
    assert sorted((clip.video_id, clip.step, clip.hand) for clip in found) == sorted(
        (clip.video_id, clip.step, clip.hand) for clip in expected
    )


def test_scores_are_means_over_videos_and_gains_have_the_interval_of_two(
    shared_data: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import handwash
    import torch
    from handwash_data import HELDOUT, TARGET, TRAIN, make_root
    from pairs import interval

    from epicsub.data.features.store import FeatureStore

    monkeypatch.chdir(repository)
    monkeypatch.setattr(handwash, "TUNING", ())
    root = make_root(shared_data / "handwash", tmp_path / "root")
    segments = [segment for name in (TRAIN, HELDOUT, TARGET) for segment in root.segments(name)]
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(7, 3, 2304, generator=generator)
    x = torch.stack([means[s.verb_class, s.noun_class] + 2 * (int(s.participant_id[1:]) > 8) for s in segments])
    x = x[:, None] + 6 * torch.randn(len(x), 3, 2304, generator=generator)
    store = FeatureStore(root.path / "features" / "frozen", {})
    store.add(
        [s.narration_id for s in segments], {"rgb": x[..., :1024].contiguous(), "flow": x[..., 1024:].contiguous()}
    )
    study = handwash.Study(root, tmp_path, range(1), ["bn_only", "source_only"])
    study.make_starts(1)
    study.make([*study.jobs("own"), *study.bounds()], 1)
    figures = handwash.report(study)
    for arm in ("bn_only", "source_only"):
        halves = [figures[f"{arm}_action_{video}"] for video in ("009", "010")]
        assert figures[f"{arm}_action"] == pytest.approx(sum(halves) / 2)
        assert {f"{arm}_{end}" for end in ("verb", "noun", "gain", "gain_low", "gain_high")} <= figures.keys()
    gains = torch.tensor([figures[f"source_only_action_{v}"] - figures[f"bn_only_action_{v}"] for v in ("009", "010")])
    assert figures["source_only_gain"] == pytest.approx(float(gains.mean()), abs=1e-4)
    half = interval(gains.numpy())
    assert figures["source_only_gain_high"] == pytest.approx(figures["source_only_gain"] + half, abs=1e-3)
    assert figures["bn_only_gain"] == 0.0


def test_the_gpu_script_trains_end_to_end_on_a_folder_of_clips(repository: Path, tmp_path: Path) -> None:
    """At toy size, on four clips of this test's own; a second call has nothing left to train."""
    rows = []
    for number, video in enumerate((1, 8, 9, 10)):
        write_clip(tmp_path / "clips" / f"{video}.mp4", number)
        rows.append({"file": f"{video}.mp4", "video": video, "action": 1, "step": 1 + number % 2, "hand": "both"})
    pd.DataFrame(rows).to_csv(tmp_path / "clips" / "clips.csv", index=False)
    words = ["benchmarks/gpu/run.sh", "--videos", tmp_path / "clips", "--small"]
    words += ["--out", tmp_path / "out", "--json", tmp_path / "found.json"]
    environment = os.environ | {"PYTHON": sys.executable}
    for again in (False, True):
        done = subprocess.run(words, cwd=repository, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("step 2/2" in done.stderr or "2 of 2" in done.stderr) != again, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["finished"] == {"bn_only": [0], "source_only": [0]}
    assert (found["steps"], found["batch"], found["figures"]["bn_only_gain"]) == (1, 2, 0.0)
    assert {"source_only_gain_low", "source_only_action_009", "source_only_noun"} <= found["figures"].keys()


def write_clip(path: Path, number: int) -> None:
    """Four seconds of a square that moves."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=64, height=48, pix_fmt="yuv420p")
        for time in range(40):
            picture = np.full((48, 64, 3), 40 * number, np.uint8)
            picture[10:30, time : time + 20] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
