"""The challenge's pickles and TranSVAE's single frames read back, and what is wrong with them is reported."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from epicsub.data.features.external import FRAMES, is_external
from epicsub.data.features.store import FeatureStore, open_features, write_all
from epicsub.errors import DataError

IDS = ["P01_101_0", "P01_101_1", "P02_103_7"]


def challenge(path: Path, first: int = 0, **changes: object) -> Path:
    """A pickle as the organisers publish: (N, 25, D) a modality."""
    numbers = np.random.default_rng(first)
    features = {name: numbers.normal(size=(3, 25, 8)).astype("float32") for name in ("RGB", "Flow", "Audio")}
    names = [name.replace("_", f"_{first}", 1) if first else name for name in IDS]
    path.write_bytes(pickle.dumps({"features": features, "narration_ids": names} | changes))
    return path


def test_challenge_pickles_read_back_in_their_order_and_joined(tmp_path: Path) -> None:
    for number, name in enumerate(("source_train", "target_train")):
        challenge(tmp_path / f"{name}.pkl", number)
    content = pickle.loads((tmp_path / "target_train.pkl").read_bytes())
    tables = open_features({"rgb": tmp_path, "audio": tmp_path})
    assert (len(tables["audio"]), tables["audio"].dim, tables["audio"].times) == (6, 8, 25)
    got = tables["audio"].select([content["narration_ids"][2], IDS[0]])[torch.tensor([0])]
    assert torch.equal(got[0], torch.from_numpy(content["features"]["Audio"][2]))
    one = open_features({"flow": tmp_path / "source_train.pkl"})["flow"]
    assert one.lacking([*IDS, "P09_01_1"]) == ["P09_01_1"]


def test_a_pickle_that_carries_code_is_not_run(tmp_path: Path) -> None:
    class Call:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"features": {"RGB": Call()}, "narration_ids": IDS}))
    with pytest.raises(DataError, match=r"evil.pkl: holds pathlib"):
        open_features({"rgb": path})
    assert not (tmp_path / "ran").exists()


WRONG = [
    ({"features": [1, 2]}, "holds features, narration_ids; expected a dict with features and narration_ids"),
    (
        {"narration_ids": IDS[:2]},
        "RGB features are float32 (3, 25, 8), expected floats (2, D) or (2, T, D) for its 2 narration ids; the last id "
        "is P01_101_1",
    ),
    ({"narration_ids": [IDS[0], IDS[1], IDS[0]]}, "1 duplicate narration id: P01_101_0"),
    ({"features": {"RGB": np.zeros((3, 8), dtype=int)}}, "RGB features are int64 (3, 8), expected floats"),
    ({"features": {"Flow": np.zeros((3, 8))}}, "has no rgb features; it has flow"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_wrong_pickles_are_refused_by_name(tmp_path: Path, changes: dict, message: str) -> None:
    path = challenge(tmp_path / "source_train.pkl", **changes)
    with pytest.raises(DataError) as refused:
        open_features({"rgb": path})
    assert str(path) in str(refused.value)
    assert message in str(refused.value)


def test_nan_in_a_pickle_names_file_and_narration(tmp_path: Path) -> None:
    x_NTD = np.zeros((3, 25, 8), dtype="float32")
    x_NTD[1, 24, 7] = np.nan
    path = challenge(tmp_path / "source_train.pkl", features={"RGB": x_NTD})
    with pytest.raises(DataError, match=r"source_train.pkl: rgb features are not finite for P01_101_1"):
        open_features({"rgb": path})["rgb"].select(IDS)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """TranSVAE's layout for two rows of D1 and one of D3: frame n of row r holds 100 r + n everywhere."""
    for domain, kitchen, rows in (
        ("D1", "P08", {0: ("P08_09", 30), 1: ("P08_10", 7)}),
        ("D3", "P22", {0: ("P22_01", 5)}),
    ):
        table = pd.DataFrame(
            {"uid": [f"{kitchen[1:]}{row}" for row in rows], "video_id": [v for v, _ in rows.values()]}
        )
        table.to_pickle(tmp_path / f"{domain}_train.pkl")
        for row, (video, count) in rows.items():
            folder = tmp_path / "I3D-feature-pretrain" / "train" / kitchen / video / str(row)
            folder.mkdir(parents=True)
            for number in range(1, count + 1):
                torch.save(torch.full((16,), float(100 * row + number)), folder / f"img_{number:05d}.t7")
    return tmp_path


def test_single_frames_become_evenly_chosen_times(frames: Path) -> None:
    assert is_external(frames)
    table = open_features({"rgb": frames})["rgb"]
    assert (len(table), table.times, table.dim) == (3, FRAMES, 16)
    rows = table.select(["EK55_081", "EK55_080", "EK55_220"]).in_memory[..., 3]
    assert rows.tolist() == [[101, 102, 104, 106, 107], [1, 8, 16, 23, 30], [1, 2, 3, 4, 5]]


def test_single_frames_that_are_wrong_are_named(frames: Path) -> None:
    folder = frames / "I3D-feature-pretrain" / "train" / "P08" / "P08_09" / "0"
    (folder / "img_00008.t7").unlink()
    with pytest.raises(DataError, match=r"P08_09/0: EK55_080 lacks frames 8"):
        open_features({"rgb": frames})
    (folder / "img_00008.t7").write_bytes(b"no tensor")
    with pytest.raises(DataError, match=r"img_00008.t7: is a text .* \(a frame of EK55_080\)"):
        open_features({"rgb": frames})
    torch.save(torch.zeros(4), folder / "img_00008.t7")
    with pytest.raises(DataError, match=r"img_00008.t7: EK55_080: has 4 entries, the first frame 16"):
        open_features({"rgb": frames})
    (frames / "D3_train.pkl").unlink()
    torch.save(torch.zeros(16), folder / "img_00008.t7")
    with pytest.raises(DataError, match=r"lacks D3_train.pkl, MM-SADA's table"):
        open_features({"rgb": frames})


def test_rows_of_another_video_than_the_table_says_are_refused(frames: Path) -> None:
    table = pd.read_pickle(frames / "D1_train.pkl")
    table.iloc[::-1].reset_index(drop=True).to_pickle(frames / "D1_train.pkl")
    with pytest.raises(DataError, match=r"P08_09/0: row 0 of the table is of P08_10, not of P08_09"):
        open_features({"rgb": frames})


def test_features_of_others_are_repacked_as_they_are(tmp_path: Path) -> None:
    from epicsub.data.features.external import read_external

    path = challenge(tmp_path / "source_train.pkl")
    store = FeatureStore(tmp_path / "mine", {"repacked": "source_train.pkl"})
    assert write_all(store, read_external(path), size=2) == 3
    assert (
        write_all(FeatureStore(tmp_path / "mine", {"repacked": "source_train.pkl"}), read_external(path), size=2) == 0
    )
    assert len(store.shards) == 2
    for modality in ("rgb", "flow", "audio"):
        mine, theirs = (open_features({modality: place})[modality] for place in (tmp_path / "mine", path))
        assert torch.equal(mine.select(IDS).in_memory, theirs.select(IDS).in_memory)
