"""What `validation/runs/` keeps: one small JSON for each reported run, and a table made of all of them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from epicsub.errors import ValidationError
from epicsub.io import write_text
from epicsub.io.files import os_reason, read_text
from epicsub.validation.detail import Detail
from epicsub.validation.protocol import TASKS
from epicsub.validation.report import Evaluation

TABLE = "README.md"
_KEPT = ("protocol", "coverage", "scores", "intervals")
HEAD = """\
# Reported runs

Made by `epicsub validate TARGET... --record` out of the JSON files beside it: do not edit. Percent; in brackets the
95 % interval, whole videos resampled.
"""


def write_record(
    name: str, evaluation: Evaluation, detail: Detail, provenance: Mapping[str, Any], folder: Path
) -> Path:
    """Write one run's figures, whole or not at all; an older record of the same name and protocol is replaced.

    Args:
        name: of the run.
        evaluation: its scores.
        detail: its figures beyond these; intervals and class means are kept.
        provenance: what the figures came from: kind, sha256, recipe, seed, ...
        folder: where the records lie.

    Returns:
        The path of the record.

    Raises:
        ValidationError: the place cannot be written.
    """
    path = Path(folder) / f"{_plain(name)}.{_plain(evaluation.protocol)}.json"
    more = detail.as_json()
    content = {
        "name": name,
        **evaluation.as_json(),
        "further": _rounded(more["scores"]),
        "intervals": _rounded(more["intervals"]),
        "interval_videos": more["interval_videos"],
        "from": dict(provenance),
    }
    content["scores"] = _rounded(content["scores"])
    _write(path, json.dumps(content, indent=1) + "\n")
    return path


def write_table(folder: Path) -> Path:
    """Write the table of all records, by protocol, the best action first (verb, where there are no actions).

    Args:
        folder: where the records lie.

    Returns:
        The path of the table.

    Raises:
        ValidationError: a record cannot be read, or the place cannot be written; all records at once.
    """
    records = list(_read_records(folder, _row).values())
    parts = [HEAD]
    for protocol in sorted({record["protocol"] for record in records}):
        rows = [record for record in records if record["protocol"] == protocol]
        rows.sort(key=lambda record: (-_best(record), record["name"]))
        parts.append(f"## {protocol}\n\n" + _table(rows))
    path = Path(folder) / TABLE
    _write(path, "\n".join(parts))
    return path


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise ValidationError(
            f"{path}: cannot be written: {os_reason(error)}; --record-to DIR takes another"
        ) from error


def recorded_scores(digest: str, folder: Path) -> list[dict[str, Any]]:
    """Scores in percent, with their 95 % intervals, that were recorded of a checkpoint.

    Args:
        digest: SHA-256 of the checkpoint; a record of another content does not count.
        folder: where the records lie.

    Returns:
        One entry per record: record (its file name), views, protocol, coverage, scores, intervals.

    Raises:
        ValidationError: a record that cannot be read; all at once.
    """
    records = _read_records(folder, lambda record: [record["from"]["sha256"], *map(record.__getitem__, _KEPT)])
    return [
        {"record": name, "views": record["from"].get("views")} | {key: record[key] for key in _KEPT}
        for name, record in records.items()
        if record["from"]["sha256"] == digest
    ]


def _read_records(folder: Path, check: Callable[[dict[str, Any]], object]) -> dict[str, dict[str, Any]]:
    """Records by file name; `check` reads what is needed of each."""
    problems, records = [], {}
    for path in sorted(Path(folder).glob("[!.]*.json")):
        try:
            record = json.loads(read_text(path, ValidationError))
            check(record)
        except ValidationError as error:
            problems.append(str(error))
        except (ValueError, KeyError, TypeError, RecursionError):
            problems.append(f"{path}: not a record of `validate --record`; move it away, or record the run again")
        else:
            records[path.name] = record
    if problems:
        raise ValidationError("\n".join(problems))
    return records


def _table(records: list[dict[str, Any]]) -> str:
    tasks = [task for task in TASKS if any(f"all_{task}_accuracy_at_1" in record["scores"] for record in records)]
    heads = ["run", "coverage", *tasks, *(f"class-mean {task}" for task in tasks), "recipe", "seed", "commit"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for record in records:
        coverage, source = record["coverage"], record["from"]
        cells = [record["name"], f"{coverage['segments']} of {coverage['of']}", *_row(record, tasks)]
        cells += [str(source.get("recipe", "")), str(source.get("seed", "")), str(source.get("commit", ""))[:7]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _row(record: dict[str, Any], tasks: Sequence[str] = TASKS) -> list[str]:
    names = [f"all_{task}_accuracy_at_1" for task in tasks] + [f"class_mean_{task}_accuracy_at_1" for task in tasks]
    figures, intervals = record["scores"] | record["further"], record["intervals"]
    cells = []
    for name in names:
        low, high = intervals.get(name, (None, None))
        between = f" ({low:.1f} to {high:.1f})" if low is not None else ""
        cells.append(f"{figures[name]:.2f}{between}" if name in figures else "")
    return cells


def _best(record: dict[str, Any]) -> float:
    scores = record["scores"]
    return float(scores.get("all_action_accuracy_at_1", scores.get("all_verb_accuracy_at_1", 0.0)))


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [round(end, 4) for end in value] if isinstance(value, list) else round(value, 4)
        for name, value in figures.items()
    }


def _plain(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", name).strip("_")
