"""docs/refusals.md shows what ten invalid commands print.

WRITE_REFUSALS=1 python -m pytest -n 0 tests/cli/test_refusals_page.py    rewrites the page
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import torch

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

HEAD = """\
# What can go wrong

Ten invalid commands and what they print, on the small kitchens of `epicsub data synth`, with a run of twelve steps in
`outputs/short` and a protocol of their counts in `small.yaml`. A test runs them and compares. All problems are
reported at once, with file, line, value and what to do; the exit status is 2.
"""
TRAIN = "train recipes/tiny/source_only.yaml data.workers=0 model.width=0.0625"
SMALL = "--protocol small.yaml --data kitchens"
LEVELS = "--sls-pt 0 --sls-tl 3 --sls-td 3"
TEST_LIST, VALIDATION_LIST = "EPIC_100_test_timestamps.csv", "EPIC_100_validation.csv"


class Case(NamedTuple):
    title: str
    words: str
    says: str
    """part of what must be printed, so that another failure is not taken for this one"""
    prepare: Callable[[Path], object] = lambda place: None
    """writes the files that the command names"""


def misspelt(place: Path) -> None:
    text = (place / "recipes" / "tiny" / "mmir_i3d.yaml").read_text()
    (place / "typo.yaml").write_text(text.replace("learning_rate", "learing_rate", 1))


def without_flow(place: Path) -> None:
    shutil.copytree(place / "kitchens", place / "other")
    video = pd.read_csv(place / "other" / "annotations" / "EPIC_100_train.csv").video_id[0]
    next((place / "other" / "flow").rglob(f"{video}.mp4")).unlink()


def rows(place: Path, name: str = TEST_LIST) -> list[dict]:
    """Log-probabilities for every segment of a list, in the organisers' list format."""
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "narration_id": narration_id,
            "verb_output": torch.log_softmax(3 * torch.randn(97, generator=generator), 0),
            "noun_output": torch.log_softmax(3 * torch.randn(300, generator=generator), 0),
        }
        for narration_id in pd.read_csv(place / "kitchens" / "annotations" / name).narration_id
    ]


def wrong_ids(place: Path) -> None:
    predicted = rows(place)
    predicted[0]["narration_id"] = "P37_101_9"
    predicted[1]["narration_id"] = predicted[2]["narration_id"]
    torch.save(predicted, place / "ids.pt")


def lfs_pointer(place: Path) -> None:
    digest = "4" * 64
    (place / "i3d.pth").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 49297641\n")


def a_gift(place: Path) -> None:
    (place / "gift.pkl").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")


CASES = [
    Case("A misspelt key", "train typo.yaml", "did you mean", misspelt),
    Case(
        "Several problems at once",
        f"{TRAIN} data.frames=-4 train.clip_gradd=1 model.dropout=two",
        "3 problems",
    ),
    Case("A pointer of git-lfs in place of a checkpoint", f"validate i3d.pth {SMALL}", "git lfs pull", lfs_pointer),
    Case("Optical flow that is missing", f"{TRAIN} --data other --out outputs/f", "epicsub data flow", without_flow),
    Case(
        "Resuming with other settings",
        "train recipes/tiny/mmir_i3d.yaml seed=5 --data kitchens --out outputs/short",
        "--no-resume",
    ),
    Case(
        "A loss that is not finite",
        f"{TRAIN} train.stages.0.learning_rate=1e18 train.clip_grad=null --data kitchens --out outputs/n",
        "source batch",
    ),
    Case("A pickle that would run a command", f"validate gift.pkl {SMALL}", "holds os.system", a_gift),
    Case(
        "A member that lacks segments",
        f"submit part.pt {LEVELS} {SMALL}",
        "--fill prior",
        lambda place: torch.save(rows(place)[3:], place / "part.pt"),
    ),
    Case("Ids that are missing, unexpected or repeated", f"check ids.pt {SMALL}", "missing", wrong_ids),
    Case(
        "Predictions of the validation list, sent as test",
        f"check validation.pt {SMALL}",
        "has labels",
        lambda place: torch.save(rows(place, VALIDATION_LIST), place / "validation.pt"),
    ),
]


def half_a_checkpoint(place: Path) -> None:
    content = (place / "outputs" / "short" / "last.pth").read_bytes()
    (place / "half.pth").write_bytes(content[: len(content) // 2])


OTHERS = [
    Case("A truncated checkpoint", f"validate half.pth {SMALL}", "half.pth: is cut off or damaged", half_a_checkpoint),
    Case(
        "Settings that contradict each other",
        "train recipes/tiny/mmir_i3d.yaml train.stages.1.target_batch=3",
        "target_batch",
    ),
    Case(
        "Another number of segments than the protocol states",
        "validate member.pt --protocol validation/ek100.yaml --data kitchens",
        "--count 24",
        lambda place: torch.save(rows(place, VALIDATION_LIST), place / "member.pt"),
    ),
    Case("Predictions of an unknown kind", f"predict short --split test -o x.csv {SMALL}", "x.csv: "),
    Case("Several members without --ensemble", f"submit a.pt b.pt {LEVELS} {SMALL}", "add --ensemble"),
    Case("A misspelt run", f"validate shrot {SMALL}", "short"),
]


@pytest.fixture
def place(kitchens: Path, run: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of its own, with the session's kitchens and a copy of its run."""
    for name in ("recipes", "validation"):
        (tmp_path / name).symlink_to(repository / name)
    (tmp_path / "kitchens").symlink_to(kitchens)
    shutil.copy(kitchens.parent / "small.yaml", tmp_path)
    shutil.copytree(run, tmp_path / "outputs" / "short")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(case: Case, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> str:
    """What the command prints from its first error on, without the paths of this machine."""
    from epicsub.cli import run as run_epicsub

    case.prepare(place)
    for name, value in {"COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["epicsub", *case.words.split()])
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        run_epicsub()
    found = capsys.readouterr()
    text = "\n".join(line.rstrip() for line in (found.out + found.err).strip().splitlines())
    assert leaving.value.code == 2, text
    assert case.says in text, text
    starts = [position for mark in ("error:", "problem:") if (position := text.find(mark)) >= 0]
    return text[min(starts) :].replace(f"{place.resolve()}/", "")


def test_the_page_is_up_to_date(
    place: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    parts = [
        f"## {case.title}\n\n```\n$ epicsub {case.words}\n{printed(case, place, monkeypatch, capsys)}\n```\n"
        for case in CASES
    ]
    page = repository / "docs" / "refusals.md"
    text = "\n".join([HEAD, *parts])
    if os.environ.get("WRITE_REFUSALS"):
        page.write_text(text, encoding="utf-8")
    assert page.read_text(encoding="utf-8").splitlines() == text.splitlines(), "run this test with WRITE_REFUSALS=1"


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.title)
def test_other_refusals(
    case: Case, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert printed(case, place, monkeypatch, capsys).startswith("error: ")
