"""A campaign's trials are seeded, kept as they end, and run once; each campaign's first trials end as they must."""

import json
import math
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.campaigns import CAMPAIGNS, runner
from benchmarks.campaigns.__main__ import main


class Toy(ModuleType):
    """Trials that say what they drew; index 3 goes wrong until it is mended."""

    TOTAL = 6
    MUST_BE_ZERO = ("wrong",)
    mended = False

    @staticmethod
    def prepare(folder: Path) -> None:
        (folder / "inputs").mkdir()

    @classmethod
    def trial(cls, folder: Path, rng: random.Random, index: int) -> dict[str, str]:
        assert (folder / "inputs").is_dir()
        assert not list((folder / "scratch").iterdir())
        (folder / "scratch" / "left").touch()
        return {"outcome": "wrong" if index == 3 and not cls.mended else "right", "detail": str(rng.random())}

    @staticmethod
    def figures(counts: dict[str, int]) -> dict[str, int]:
        return {"toy_total": sum(counts.values()), "toy_wrong": counts["wrong"]}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = Toy("toy")
    module.__file__ = __file__
    monkeypatch.setitem(sys.modules, "benchmarks.campaigns.toy", module)
    monkeypatch.setattr("benchmarks.campaigns.__main__.CAMPAIGNS", ("toy",))
    monkeypatch.setattr(runner, "STATE", tmp_path / "state")
    monkeypatch.setattr(runner, "RECORD", tmp_path / "record.json")
    monkeypatch.setattr(Toy, "mended", False)
    return tmp_path


def test_a_killed_campaign_goes_on_with_the_same_draws(toy: Path) -> None:
    log = toy / "state" / "toy-7" / "trials.jsonl"
    assert main(["toy", "--seed", "7", "--minutes", "0"]) == 0
    assert not log.exists()
    assert main(["toy", "--seed", "7", "--trials", "2"]) == 0
    first = log.read_text()
    log.write_text(first + '{"index": 2, "outc')
    assert not (toy / "record.json").exists()
    assert main(["toy", "--seed", "7"]) == 1
    assert log.read_text().startswith(first)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(6))
    assert [row["detail"] for row in rows] == [str(random.Random(f"7/toy/{index}").random()) for index in range(6)]


def test_the_record_holds_full_campaigns_and_failures_run_again(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1])["figures"] == {"toy_total": 6, "toy_wrong": 1}
    assert [row["index"] for row in json.loads((toy / "record.json").read_text())["campaigns"]["toy"]["failed"]] == [3]
    Toy.mended = True
    assert main(["--again", "--json", str(toy / "figures.json")]) == 0
    assert json.loads((toy / "figures.json").read_text())["figures"] == {"toy_total": 6, "toy_wrong": 0}
    assert json.loads((toy / "record.json").read_text())["figures"] == {"toy_total": 6, "toy_wrong": 0}


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_the_first_trials_end_as_they_must(name: str, tmp_path: Path) -> None:
    campaign = runner.load(name)
    rows = runner.run(name, campaign, 0, tmp_path, seconds=math.inf, trials=3)
    assert rows
    assert not runner.summary(campaign, rows, 0)["failed"]
