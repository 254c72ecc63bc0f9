"""Run trials of a campaign, keep each as it ends, and sum them up."""

import hashlib
import json
import random
import shutil
import subprocess
import time
import traceback
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType

from benchmarks.machine import compact, here
from epicsub.io import write_text

PACKAGE = Path(__file__).parents[2] / "epicsub"
STATE = Path(__file__).parent / "state"
RECORD = Path(__file__).parents[1] / "results" / "campaigns.json"


def load(name: str) -> ModuleType:
    return import_module(f"benchmarks.campaigns.{name}")


def must_be_zero(campaign: ModuleType) -> tuple[str, ...]:
    return (*campaign.MUST_BE_ZERO, "error")


def run(name: str, campaign: ModuleType, seed: int, state: Path, seconds: float, trials: int) -> list[dict]:
    """Run what is missing of the first `trials` trials, for so many seconds at most; all that are done, by index."""
    end = time.monotonic() + seconds
    folder = state / f"{name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    done = {row["index"] for row in finished(folder)}
    missing = [index for index in range(min(trials, campaign.TOTAL)) if index not in done]
    prepared, source = folder / "prepared", _source(campaign)
    if missing and not (prepared.exists() and prepared.read_text() == source):
        shutil.rmtree(folder / "inputs", ignore_errors=True)
        campaign.prepare(folder)
        prepared.write_text(source)
    commit = _commit()
    for index in missing:
        if time.monotonic() >= end:
            break
        shutil.rmtree(folder / "scratch", ignore_errors=True)
        (folder / "scratch").mkdir()
        result = _one(campaign, folder, random.Random(f"{seed}/{name}/{index}"), index)
        row = {"index": index, "outcome": result["outcome"], "commit": commit, "detail": result["detail"]}
        with (folder / "trials.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if row["outcome"] in must_be_zero(campaign):
            print(f"{name} {index}: {row['outcome']}: {row['detail']}", flush=True)
    shutil.rmtree(folder / "scratch", ignore_errors=True)
    return finished(folder)


def finished(folder: Path) -> list[dict]:
    """The trials kept in a campaign's folder, by index. A last line that a kill cut short is dropped from the file."""
    path = folder / "trials.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith("\n"):
        write_text(path, "".join(lines[:-1]))
        lines.pop()
    return sorted((json.loads(line) for line in lines), key=lambda row: row["index"])


def forget(name: str, campaign: ModuleType, seed: int, state: Path) -> None:
    """Drop the trials that ended as none may, so that they are run again."""
    folder = state / f"{name}-{seed}"
    kept = [row for row in finished(folder) if row["outcome"] not in must_be_zero(campaign)]
    if folder.exists():
        write_text(folder / "trials.jsonl", "".join(json.dumps(row) + "\n" for row in kept))


def summary(campaign: ModuleType, rows: list[dict], seed: int) -> dict[str, object]:
    """Figures and counts of a campaign's trials, and on which commits they ran."""
    counts = Counter(row["outcome"] for row in rows)
    return {
        "done": len(rows),
        "of": campaign.TOTAL,
        "seed": seed,
        "counts": dict(sorted(counts.items())),
        "figures": campaign.figures(counts),
        "commits": dict(Counter(row["commit"] for row in rows)),
        "failed": [row for row in rows if row["outcome"] in must_be_zero(campaign)],
    }


def write_record(path: Path, summaries: dict[str, dict]) -> None:
    """Put the campaigns that reached their full size into the record, beside those that it has."""
    held = json.loads(path.read_text())["campaigns"] if path.exists() else {}
    full = {name: part | here() for name, part in summaries.items() if part["done"] == part["of"]}
    if full:
        campaigns = dict(sorted((held | full).items()))
        figures = {key: value for part in campaigns.values() for key, value in part["figures"].items()}
        write_text(path, compact({"figures": figures, "campaigns": campaigns}) + "\n")


def _one(campaign: ModuleType, folder: Path, rng: random.Random, index: int) -> dict[str, str]:
    try:
        return campaign.trial(folder, rng, index)
    except Exception:
        return {"outcome": "error", "detail": traceback.format_exc()[-2000:]}


def _source(campaign: ModuleType) -> str:
    """Digest of the package, its commit and the campaign: another may prepare other files, which tell the commit."""
    files = [*PACKAGE.rglob("*.py"), Path(campaign.__file__ or __file__)]
    content = b"".join(file.read_bytes() for file in sorted(files))
    return hashlib.sha256(_commit().encode() + content).hexdigest()


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
