"""Work in shares: together they are what one job writes, and what is missing is named by number."""

import shutil
from pathlib import Path

import pytest

from epicsub.errors import DataError
from epicsub.io.shards import Shard, missing_shards, shard_of

pytestmark = pytest.mark.xdist_group("cli")


def test_shares_are_equal_and_together_the_whole() -> None:
    items = list(range(11))
    shares = [Shard(number, 3).share(items) for number in (1, 2, 3)]
    assert sorted(item for share in shares for item in share) == items
    assert [len(share) for share in shares] == [4, 4, 3]
    assert missing_shards(items, shares[2], 3) == [3]
    assert missing_shards(items, [items[0], items[1]], 3) == [1, 2]


@pytest.mark.parametrize(
    ("array", "shard"),
    [
        ({"ID": "0", "COUNT": "8", "MIN": "0"}, "1/8"),
        ({"ID": "8", "COUNT": "8", "MIN": "1"}, "8/8"),
        ({"ID": "7", "COUNT": "3", "MIN": "3", "STEP": "2"}, "3/3"),
        ({"ID": "3", "COUNT": "1", "MIN": "3"}, "None"),  # one task alone has all the work
        ({"ID": "x", "COUNT": "8"}, "None"),
        ({}, "None"),
    ],
)
def test_a_task_of_an_array_is_a_share(array: dict[str, str], shard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ID", "COUNT", "MIN", "STEP"):
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
    for name, value in array.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert str(shard_of(None)) == shard
    assert str(shard_of("2/4")) == "2/4"


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "", "1/0", "-1/2"])
def test_no_share_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="expected I/N"):
        shard_of(text)


def test_predictions_in_shares_are_the_same_bytes(command, run: Path, kitchens: Path, work: Path) -> None:
    words = ("predict", run / "last.pth", "--split", "validation", "--protocol", "small.yaml", "--data", kitchens)
    whole = command(*words, "-o", "whole.npz")
    assert whole.status == 0, whole.err
    shutil.rmtree(run / "predictions")
    for number in (1, 2):
        done = command(*words, "-o", "parts.npz", "--shard", f"{number}/2")
        assert done.status == 0, done.err
        if number == 1:
            early = command(*words, "-o", "parts.npz", "--merge", 2)
            assert early.status == 2
            assert "of 2 shards these are missing or not whole: 2" in early.err
    assert not (work / "parts.npz").exists()
    merged = command(*words, "-o", "parts.npz", "--merge", 2)
    assert merged.status == 0, merged.err
    assert (work / "parts.npz").read_bytes() == (work / "whole.npz").read_bytes()


def test_flow_and_prepared_store_in_shares_are_the_same_bytes(command, kitchens: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        root.mkdir()
        for name in ("annotations", "videos"):
            (root / name).symlink_to(kitchens / name)
    wholes = ("data", "flow", "--data"), ("data", "prepare", "--modality", "rgb", "--data")
    for words in wholes:
        done = command(*words, one, "--workers", 1)
        assert done.status == 0, done.err
        for number in (2, 1):
            done = command(*words, two, "--workers", 1, "--shard", f"{number}/2")
            assert done.status == 0, done.err
            merged = command(*words, two, "--merge", 2)
            if number == 2:
                assert merged.status == 2
                assert "of 2 shards these are missing or not whole: 1." in merged.err
        assert (merged.status, "all 2 shards are there" in merged.out) == (0, True), merged.err
    for name in ("flow", "prepared"):
        files, others = (
            {p.relative_to(root): p.read_bytes() for p in (root / name).rglob("*") if p.is_file() and p.name[0] != "."}
            for root in (one, two)
        )
        assert len(files) > 2
        assert files == others


def test_features_in_shards_are_the_same_bytes(command, run: Path, kitchens: Path, tmp_path: Path) -> None:
    words = ("data", "features", run, "--data", kitchens, "--list", "EPIC_100_validation.csv", "--per-file", 10)
    for out, shard in (("one", ()), ("two", ("--shard", "2/2"))):
        done = command(*words, "-o", tmp_path / out, *shard)
        assert done.status == 0, done.err
    early = command(*words, "-o", tmp_path / "two", "--merge", 2)
    assert (early.status, "missing or not whole: 1." in early.err) == (2, True), early.err
    done = command(*words, "-o", tmp_path / "two", "--shard", "1/2")
    assert done.status == 0, done.err
    merged = command(*words, "-o", tmp_path / "two", "--merge", 2)
    assert merged.status == 0, merged.err
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / out).glob("[!.]*")} for out in ("one", "two"))
    assert len(one) > 2
    assert one == two
    assert not list(tmp_path.glob(".two*"))


def test_a_deep_check_in_shards_reports_the_same(command, kitchens: Path, tmp_path: Path) -> None:
    reports = []
    for out in ("one", "two"):
        (tmp_path / out).mkdir()
        for name in ("annotations", "videos"):
            (tmp_path / out / name).symlink_to(kitchens / name)
    words = ("data", "check", "--deep", "--workers", 1, "--data")
    for number in (1, 2):
        done = command(*words, tmp_path / "two", "--shard", f"{number}/2")
        assert done.status == 0, done.out + done.err
        merged = command(*words, tmp_path / "two", "--merge", 2, "--json", tmp_path / "two.json")
        assert (merged.status, "missing or not whole: 2." in merged.err) == ((2, True) if number == 1 else (0, False))
    whole = command(*words, tmp_path / "one", "--json", tmp_path / "one.json")
    assert whole.status == 0, whole.err
    for out in ("one", "two"):
        reports.append((tmp_path / f"{out}.json").read_text().replace(str(tmp_path / out), ""))
    assert reports[0] == reports[1]


def test_what_a_recipe_reads_is_staged_once_and_whole(command, kitchens: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in ("annotations", "videos"):
        (root / name).symlink_to(kitchens / name)
    words = (
        "data",
        "stage",
        tmp_path / "local",
        "recipes/tiny/frame_mean.yaml",
        "data.modalities=[rgb]",
        "--data",
        root,
    )
    early = command(*words)
    assert early.status == 2
    assert "the recipe reads what is not there" in early.err
    done = command("data", "prepare", "--modality", "rgb", "--data", root, "--workers", 1)
    assert done.status == 0, done.err
    for times in ("first", "again"):
        done = command(*words)
        assert done.status == 0, done.err
        assert (" 0 files to copy" in done.out) == (times == "again"), done.out
    files = [path.relative_to(root) for path in (root / "prepared").rglob("P*.h264")]
    assert files
    assert all((tmp_path / "local" / file).read_bytes() == (root / file).read_bytes() for file in files)
