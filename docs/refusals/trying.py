"""Trying a command as a user gives it, and showing what it printed."""

import io
import shutil
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

REPOSITORY = Path(__file__).resolve().parents[2]
MARKS = ("error:", "problem:", "warning:")
SIZES = {"train": 48, "heldout": 12, "validation": 24, "test": 20}
SHORT = (
    "train.stages.0.steps=4", "train.stages.1.steps=8", "train.stages.0.source_batch=5",
    "train.stages.1.source_batch=5", "train.stages.1.target_batch=10", "train.log_every=1",
    "train.checkpoint_every=3", "model.width=0.0625", "data.workers=0",
)  # fmt: skip
PROTOCOL = """\
name: small
training_list: EPIC_100_train.csv
validation: {list: EPIC_100_validation.csv, count: 24}
test: {list: EPIC_100_test_timestamps.csv, count: 20}
tail_verbs: EPIC_100_tail_verbs.csv
tail_nouns: EPIC_100_tail_nouns.csv
unseen_validation: EPIC_100_unseen_participant_ids_validation.csv
selection: training labels only
"""
HEAD = """\
# What epicsub refuses, and what it says

Each of these was tried as it stands, on the small kitchens of `epicsub data synth`, with a run of twelve steps in
`outputs/short` and a protocol of their counts in `small.yaml`. `python docs/refusals` writes this page; a test
compares it with what the commands print. A refusal ends with exit status 2 and has written nothing; a warning lets the
command go on.
"""


@dataclass(frozen=True)
class Case:
    """One thing that a new user does."""

    title: str
    words: str
    """the command line behind `epicsub`, split at spaces"""
    prepare: Callable[[Path], object] = field(default=lambda folder: None)
    """makes the files that the command names, in the folder where it runs"""
    says: str = ""
    """a part of what it must print, so that another failure is not taken for this one"""
    status: int = 2


def furnish(place: Path) -> None:
    """Kitchens and a run, as `page` expects them."""
    link(place)
    sizes = " ".join(f"--{name} {size}" for name, size in SIZES.items())
    for words in (
        f"data synth kitchens {sizes}",
        "data flow --data kitchens",
        f"train recipes/tiny/mmir_i3d.yaml {' '.join(SHORT)} --data kitchens --out outputs/short",
    ):
        status, printed = run(place, words)
        if status:
            sys.exit(f"epicsub {words}: {printed}")


def link(place: Path) -> None:
    """What a checkout has, and the protocol."""
    for name in ("recipes", "validation"):
        (place / name).symlink_to(REPOSITORY / name)
    (place / "small.yaml").write_text(PROTOCOL)


def page(place: Path, sections: dict[str, list[Case]]) -> str:
    """The text of the page, from commands run in a folder that has kitchens/ and outputs/short/."""
    parts, unexpected = [HEAD], []
    for title, cases in sections.items():
        parts.append(f"## {title}")
        for case in cases:
            case.prepare(place)
            status, told = run(place, case.words)
            if status != case.status or case.says not in told or "Traceback" in told:
                unexpected.append(f"{case.title}: epicsub {case.words}\nexit status {status}: {told or 'nothing'}")
            parts.append(f"**{case.title}**\n\n```\n$ epicsub {case.words}\n{told}\n```")
    if unexpected:
        raise ValueError("\n\n".join(unexpected))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def run(place: Path, words: str) -> tuple[int, str]:
    """Exit status, and what was said of errors and warnings, without the place's own path."""
    from epicsub.cli import run as run_epicsub

    out, err = io.StringIO(), io.StringIO()
    plain = {"COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"}
    status = 0
    with patch.dict("os.environ", plain), patch.object(sys, "argv", ["epicsub", *words.split()]):
        try:
            with chdir(place), redirect_stdout(out), redirect_stderr(err):
                run_epicsub()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
    text = "\n".join(told for stream in (out, err) if (told := _from_the_mark(stream.getvalue())))
    return status, text.replace(f"{place}/", "").replace(f"{REPOSITORY}/", "")


def _from_the_mark(text: str) -> str:
    """What was said from the first warning or refusal on: before it stand lines of progress, with times in them."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    first = next((number for number, line in enumerate(lines) if line.startswith(MARKS)), len(lines))
    return "\n".join(lines[first:])


def copy_of_kitchens(place: Path, name: str) -> Path:
    """A copy to break; a file that is written anew there leaves the first kitchens as they are."""
    target = place / name
    if not target.exists():
        shutil.copytree(place / "kitchens", target)
    return target
