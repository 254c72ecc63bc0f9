"""The scores as tables on a terminal: coverage first."""

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.table import Table

from epicsub.validation.bootstrap import Difference, Interval
from epicsub.validation.detail import Detail
from epicsub.validation.protocol import TASKS
from epicsub.validation.report import Evaluation

MOST_GROUPS = 12
"""rows of a table on the terminal"""
GROUPS = {"unseen": "unseen kitchens", "tail": "tail classes"}


def show(name: str, evaluation: Evaluation, detail: Detail | None = None) -> Iterator[str | Table]:
    """Lay out one target's scores: the coverage, then tables.

    Args:
        name: of the target.
        evaluation: its scores.
        detail: its further figures.

    Yields:
        Lines of plain text and tables, to be printed one by one.
    """
    yield f"{evaluation.coverage} segments ({evaluation.protocol}, {name})"
    yield table(evaluation, detail.intervals if detail else {})
    if detail is None:
        return
    if detail.videos < 2:
        yield "no intervals: all segments are of one video"
    else:
        yield f"In brackets: 95 % intervals, {detail.videos} videos resampled whole."
    yield _class_means(detail)
    for group, parts in detail.groups.items():
        if len(parts) <= MOST_GROUPS:
            yield _group_table(group, parts)
        else:
            yield f"by {group}: {len(parts)} of them, in the files of --json and --report"
    yield from detail.notes


def table(evaluation: Evaluation, intervals: Mapping[str, Interval] | None = None) -> Table:
    """Top-1 and top-5 in percent, with the number of segments behind each row; a row over none says so.

    Args:
        evaluation: the scores.
        intervals: of the scores; they stand in brackets below each row.

    Returns:
        The table.
    """
    made = Table(box=box.SIMPLE_HEAD, title=evaluation.coverage, title_justify="left")
    made.add_column("percent")
    made.add_column("segments", justify="right")
    tasks = [task for task in TASKS if f"all_{task}_accuracy_at_1" in evaluation.scores]
    for task in tasks:
        made.add_column(f"{task} top-1", justify="right")
        made.add_column("top-5", justify="right")
    unseen = evaluation.sizes["unseen"]
    sizes = {
        "all": str(evaluation.segments),
        "unseen": str(unseen) if unseen else "none",
        "tail": " / ".join(str(evaluation.sizes[f"tail_{task}"]) for task in tasks),
    }
    for group, size in sizes.items():
        names = [f"{group}_{task}_accuracy_at_{k}" for task in tasks for k in (1, 5)]
        made.add_row(GROUPS.get(group, group), size, *(_figure(evaluation.scores, name) for name in names))
        if intervals and any(name in intervals and name in evaluation.scores for name in names):
            made.add_row("", "", *(_brackets(intervals.get(name)) for name in names), style="dim")
    return made


def _class_means(detail: Detail) -> Table:
    """Class-mean accuracy, mean top-5 recall and expected calibration error, a row per task."""
    made = Table(box=box.SIMPLE_HEAD)
    for column in ("percent", "class-mean accuracy", "", "mean top-5 recall", " ", "calibration error"):
        made.add_column(column, justify="left" if column == "percent" else "right")
    for task in detail.reliability:
        names = (f"class_mean_{task}_accuracy_at_1", f"mean_{task}_recall_at_5")
        cells = [cell for n in names for cell in (_figure(detail.scores, n), _brackets(detail.intervals.get(n)))]
        made.add_row(task, *cells, _figure(detail.scores, f"{task}_calibration_error"))
    return made


def _group_table(group: str, parts: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Top-1 of every task by group, with its segments."""
    made = Table(box=box.SIMPLE_HEAD)
    made.add_column(f"by {group}")
    tasks = [task for task in TASKS if any(task in part for part in parts.values())]
    for task in tasks:
        made.add_column(f"{task} top-1", justify="right")
        made.add_column("segments", justify="right", style="dim")
    for name, part in parts.items():
        cells = ((f"{part[t]['top1']:.2f}", f"{part[t]['segments']:.0f}") if t in part else ("", "") for t in tasks)
        made.add_row(name, *(cell for pair in cells for cell in pair))
    return made


def comparison(first: str, second: str, segments: int, differences: Sequence[Difference]) -> Table:
    """Lay out second less first, in percentage points: gain, loss or noise.

    Args:
        first: name of the first model.
        second: name of the second model.
        segments: that both predicted.
        differences: as `compare` gives them.

    Returns:
        The table.
    """
    title = f"{second} less {first}, over the {segments} segments that both predicted"
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in (
        "figure",
        "first",
        "second",
        "points",
        "95 %",
        "bootstrap p",
        "only one right",
        "McNemar p",
        "verdict",
    ):
        made.add_column(column, justify="left" if column == "figure" else "right")
    for found in differences:
        alone = "" if found.only_first is None else f"{found.only_first} / {found.only_second}"
        made.add_row(
            found.name.replace("_", " "),
            f"{found.first:.2f}",
            f"{found.second:.2f}",
            f"{found.change:+.2f}",
            _brackets(found.interval, "+.2f"),
            _p(found.p_bootstrap),
            alone,
            _p(found.p_mcnemar),
            found.verdict,
        )
    return made


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _figure(scores: Mapping[str, float], name: str) -> str:
    return f"{scores[name]:.2f}" if name in scores else ""


def _brackets(found: Interval | None, form: str = ".1f") -> str:
    return f"({found.low:{form}} {found.high:{form}})" if found else ""
