"""Files that a new user may come with, good and bad, for the cases to name."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from trying import copy_of_kitchens, run

SMALL = "--protocol small.yaml --data kitchens"
LEVELS = "--sls-pt 0 --sls-tl 3 --sls-td 3"
TEST_LIST, VALIDATION_LIST = "EPIC_100_test_timestamps.csv", "EPIC_100_validation.csv"


def ids_of(place: Path, name: str = TEST_LIST) -> list[str]:
    """Narration ids of a list of the small kitchens."""
    return pd.read_csv(place / "kitchens" / "annotations" / name).narration_id.tolist()


def rows_of(ids: list[str], verbs: int = 97) -> list[dict]:
    """Log-probabilities as plain tensors, for files of any kind."""
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "narration_id": name,
            "verb_output": torch.log_softmax(3 * torch.randn(verbs, generator=generator), 0),
            "noun_output": torch.log_softmax(3 * torch.randn(300, generator=generator), 0),
        }
        for name in ids
    ]


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame], kitchens: str) -> Callable[[Path], None]:
    """A copy of the kitchens in which one table is another."""

    def prepare(place: Path) -> None:
        path = copy_of_kitchens(place, kitchens) / "annotations" / name
        changed = change(pd.read_csv(path))
        path.unlink()
        changed.to_csv(path, index=False)

    return prepare


def video(change: Callable[[Path], None], kitchens: str, folder: str = "videos") -> Callable[[Path], None]:
    """A copy of the kitchens in which the first training video, or its flow, is damaged."""

    def prepare(place: Path) -> None:
        root = copy_of_kitchens(place, kitchens)
        name = pd.read_csv(root / "annotations" / "EPIC_100_train.csv").video_id[0]
        change(next(path for path in (root / folder).rglob(f"{name}.*") if path.suffix.lower() == ".mp4"))

    return prepare


def pt(name: str, change: Callable[[list[dict]], object] = lambda rows: None, ids: str = TEST_LIST):
    """A file in the organisers' list format; what the change returns takes its place."""

    def prepare(place: Path) -> None:
        rows = rows_of(ids_of(place, ids))
        returned = change(rows)
        torch.save(returned if isinstance(returned, list | dict) else rows, place / name)

    return prepare


def json_zip(name: str, change: Callable[[dict], object] = lambda content: None, entry: str = "test.json"):
    """A zip with a test.json; a string that the change returns takes the place of its text."""

    def prepare(place: Path) -> None:
        results = {
            row["narration_id"]: {
                kind: {str(number): score for number, score in enumerate(row[f"{kind}_output"].tolist())}
                for kind in ("verb", "noun")
            }
            for row in rows_of(ids_of(place))
        }
        head = {"version": "0.2", "challenge": "action_recognition", "sls_pt": 0, "sls_tl": 3, "sls_td": 3}
        content = head | {"results": results}
        returned = change(content)
        with zipfile.ZipFile(place / name, "w") as archive:
            archive.writestr(entry, returned if isinstance(returned, str) else json.dumps(content))

    return prepare


def pickled(name: str, content: Callable[[list[str]], object]) -> Callable[[Path], None]:
    """A pickle made of the test ids."""

    def prepare(place: Path) -> None:
        (place / name).write_bytes(pickle.dumps(content(ids_of(place))))

    return prepare


def text(name: str, content: str) -> Callable[[Path], object]:
    """A file with a text in it."""
    return lambda place: (place / name).write_text(content)


def copied(source: str, name: str, old: str = "", new: str = "") -> Callable[[Path], object]:
    """A recipe or protocol of the user's own, with at most one thing in it changed."""

    def prepare(place: Path) -> None:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text((place / source).read_text().replace(old, new, 1))

    return prepare


def drop(container: list | dict, key: int | str) -> None:
    """Take one out."""
    del container[key]


def half(path: Path) -> None:
    """Keep the first half of a file."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def remove(path: Path) -> None:
    """Remove a file."""
    path.unlink()


def one_class(rows: list[dict]) -> None:
    """Give every class of a segment the same score."""
    rows[4]["noun_output"] = torch.full((300,), -5.7)


def probabilities(rows: list[dict]) -> None:
    """Send probabilities."""
    for row in rows:
        row.update({key: row[key].exp() for key in ("verb_output", "noun_output")})


def a_submission(name: str, *more: str) -> Callable[[Path], None]:
    """A good submission of the user's."""

    def prepare(place: Path) -> None:
        pt("member.pt")(place)
        status, printed = run(place, f"submit member.pt --name {name} {LEVELS} {SMALL}")
        assert status == 0, printed
        for words in more:
            status, printed = run(place, words)
            assert status == 0, printed

    return prepare


def mixed_submission(place: Path) -> None:
    """A folder in which one file was replaced."""
    a_submission("mixed")(place)
    pt("submissions/mixed/submission.pt")(place)


def run_of_another_seed(place: Path) -> None:
    """A copy of the run, for a recipe that is not quite its own."""
    shutil.copytree(place / "outputs" / "short", place / "outputs" / "changed", dirs_exist_ok=True)


def cut_checkpoint(place: Path) -> None:
    """The first half of a run's checkpoint."""
    shutil.copy(place / "outputs" / "short" / "last.pth", place / "half.pth")
    half(place / "half.pth")


def other_checkpoint(place: Path) -> None:
    """A checkpoint of something else."""
    torch.save({"a": 1}, place / "wrong.pth")


def several(*steps: Callable[[Path], object]) -> Callable[[Path], None]:
    """One preparation after another."""

    def prepare(place: Path) -> None:
        for step in steps:
            step(place)

    return prepare


def sinking(rows: list[dict]) -> None:
    """Raw logits of which each segment's lie lower than those of the one before."""
    for number, row in enumerate(rows):
        row["verb_output"] -= 60 * number
