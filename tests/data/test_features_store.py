"""Features are written shard by shard, go on where a kill stopped them, and read back by narration id."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from epicsub.data.features.store import INDEX, FeatureStore, made_by_digest, open_features, read_index
from epicsub.errors import DataError

MADE_BY = {"model": "i3d", "commit": "abc", "views": "1x1"}


def ids(first: int, count: int) -> list[str]:
    return [f"P01_01_{number}" for number in range(first, first + count)]


def values(first: int, count: int, dim: int = 4) -> torch.Tensor:
    """Row of narration n holds n, n + 0.1, ..."""
    return torch.arange(first, first + count)[:, None] + torch.arange(dim) / 10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of two shards: 3 and 2 segments, rgb (N, 4), flow (N, 2, 3)."""
    store = FeatureStore(tmp_path / "f", MADE_BY)
    for first, count in ((0, 3), (3, 2)):
        flow = values(first, count, 6).unflatten(1, (2, 3))
        store.add(ids(first, count), {"rgb": values(first, count), "flow": flow})
    return tmp_path / "f"


def test_rows_come_by_narration_id_whatever_the_order(folder: Path) -> None:
    tables = open_features({"rgb": folder, "flow": folder})
    ids = ["P01_01_4", "P01_01_0", "P01_01_2"]
    rgb = tables["rgb"].select(ids)
    expected = torch.stack([values(int(name[-1]), 1)[0] for name in ids])
    assert torch.equal(rgb[torch.arange(3)], expected)
    assert torch.equal(rgb.in_memory, expected)
    assert torch.equal(rgb[torch.tensor([2, 2])], expected[[2, 2]])
    assert (tables["rgb"].dim, tables["rgb"].times, len(tables["rgb"])) == (4, None, 5)
    assert (tables["flow"].dim, tables["flow"].times) == (3, 2)
    assert tables["flow"].select(ids)[torch.tensor([0])].shape == (1, 2, 3)


def test_index_says_what_made_the_features_and_where_each_segment_is(folder: Path) -> None:
    index = read_index(folder)
    assert index["made_by"] == MADE_BY
    assert [(entry["file"], entry["narration_ids"]) for entry in index["shards"]] == [
        ("features-00000.safetensors", ids(0, 3)),
        ("features-00001.safetensors", ids(3, 2)),
    ]
    stored = load_file(folder / "features-00001.safetensors")
    assert torch.equal(stored["rgb"], values(3, 2))
    before = made_by_digest(folder)
    FeatureStore(folder, MADE_BY).add(ids(9, 1), {"rgb": values(9, 1), "flow": torch.zeros(1, 2, 3)})
    assert made_by_digest(folder) == before


def test_a_store_goes_on_and_refuses_another_maker(folder: Path) -> None:
    again = FeatureStore(folder, MADE_BY)
    assert again.narration_ids == set(ids(0, 5))
    assert len(again.shards) == 2
    with pytest.raises(DataError, match=r'holds features made otherwise: views ."1x1", now "5x1".*--out'):
        FeatureStore(folder, MADE_BY | {"views": "5x1"})
    with pytest.raises(DataError, match="has features of P01_01_1 already"):
        again.add(["P01_01_1"], {"rgb": values(1, 1), "flow": torch.zeros(1, 2, 3)})


@pytest.mark.parametrize("harm", ["gone", "cut", "shorter"])
def test_a_damaged_shard_is_named_on_reading_and_dropped_on_resuming(
    folder: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "features-00001.safetensors"
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    else:
        save_file({"rgb": values(3, 1), "flow": torch.zeros(1, 2, 3)}, path)
    with pytest.raises(DataError, match=r"features-00001.safetensors") as refused:
        open_features({"rgb": folder})
    if harm == "shorter":
        assert "(1, 4), expected (2, D) or (2, T, D) for its 2 narration ids, P01_01_3 to P01_01_4" in str(
            refused.value
        )
    store = FeatureStore(folder, MADE_BY)
    assert "features-00001.safetensors: damaged or missing, its segments are made again" in caplog.text
    assert store.narration_ids == set(ids(0, 3))
    store.add(ids(3, 2), {"rgb": values(3, 2), "flow": torch.zeros(2, 2, 3)})
    assert open_features({"rgb": folder})["rgb"].lacking(ids(0, 6)) == ["P01_01_5"]


def test_a_kill_at_any_moment_leaves_whole_shards(tmp_path: Path) -> None:
    """A process that writes without end is killed twice; what the index names is always whole, and grows."""
    code = f"""
import torch
from pathlib import Path
from epicsub.data.features.store import FeatureStore
store = FeatureStore(Path({str(tmp_path)!r}), {MADE_BY!r})
first = len(store.narration_ids)
print("on", flush=True)
while True:
    x = torch.full((50, 2000), float(first // 50))
    store.add([str(first + row) for row in range(50)], {{"rgb": x}})
    first += 50
"""
    counts = [0]
    for kill in range(2):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        while not (tmp_path / INDEX).is_file() or len(read_index(tmp_path)["shards"]) < counts[-1] + 3 + kill:
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        shards = read_index(tmp_path)["shards"]
        counts.append(len(shards))
        table = open_features({"rgb": tmp_path})["rgb"]
        assert len(table) == 50 * len(shards)
        column = table.select([str(row) for row in range(len(table))]).in_memory[:, 7]
        assert torch.equal(column, torch.arange(len(table)).div(50, rounding_mode="floor").float())
    assert counts == sorted(set(counts))


def test_what_is_not_finite_is_neither_written_nor_read(folder: Path) -> None:
    bad = values(7, 2)
    bad[1, 0] = float("nan")
    with pytest.raises(DataError, match="the model: rgb features are not finite for P01_01_8; nothing was written"):
        FeatureStore(folder, MADE_BY).add(ids(7, 2), {"rgb": bad})
    stored = load_file(folder / "features-00000.safetensors")
    stored = {name: x_ND.clone() for name, x_ND in stored.items()}
    stored["rgb"][2, 1] = float("inf")
    save_file(stored, folder / "features-00000.safetensors")
    table = open_features({"rgb": folder})["rgb"]
    table.select(["P01_01_1"])
    with pytest.raises(DataError, match=r"features-00000.safetensors: rgb features are not finite for P01_01_2: make"):
        table.select(ids(0, 5))


def test_segments_without_features_are_counted_and_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no rgb features for 2 segments: P01_01_8, P01_01_9 \(it has 5, such as P01"):
        open_features({"rgb": folder})["rgb"].select([*ids(0, 2), *ids(8, 2)])


def test_a_place_without_the_modality_or_without_features_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        open_features({"audio": folder, "rgb": tmp_path / "nothing"})
    assert "has no audio features; it has flow, rgb" in str(refused.value)
    assert f"{tmp_path / 'nothing'}: no such folder or file of features" in str(refused.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no features known to epicsub"):
        open_features({"rgb": tmp_path / "empty"})
    (folder / INDEX).write_text(json.dumps({"shards": []}))
    with pytest.raises(DataError, match="no index of features that this epicsub can read"):
        open_features({"rgb": folder})


def test_shards_of_other_lengths_and_ids_twice_are_refused(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    save_file({"rgb": values(5, 1, 8), "flow": torch.zeros(1, 2, 3)}, folder / "features-00002.safetensors")
    index["shards"].append({"file": "features-00002.safetensors", "narration_ids": ["P01_01_5"]})
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(
        DataError, match=r"features-00002.*rgb features of P01_01_5 are \(8,\), but \(4,\) in features-00000"
    ):
        open_features({"rgb": folder})
    save_file({"rgb": values(5, 1), "flow": torch.zeros(1, 2, 3)}, folder / "features-00002.safetensors")
    index["shards"][-1]["narration_ids"] = ["P01_01_0"]
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"features-00002.* 1 narration id is in .*features-00000.* too: P01_01_0"):
        open_features({"rgb": folder})


def test_what_a_killed_writer_left_is_cleared_away(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    for name in (".features-00002.abcd_123.safetensors", ".index.abcd_123.json"):
        (folder / name).write_bytes(b"half")
    FeatureStore(folder, MADE_BY)
    assert sorted(path.name for path in folder.iterdir()) == before
