"""The scores as tables on a terminal: coverage first."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from epicsub.validation.bootstrap import Interval
from epicsub.validation.compare import Difference
from epicsub.validation.detail import Detail
from epicsub.validation.protocol import TASKS
from epicsub.validation.report import Evaluation

MOST_GROUPS = 12
"""rows of a table on the terminal"""
GROUPS = {"unseen": "unseen kitchens", "tail": "tail classes"}


def show(name: str, evaluation: Evaluation, console: Console, detail: Detail | None = None) -> None:
    """Print the coverage, then the tables of one target's scores."""
    console.print(f"{evaluation.coverage} segments ({evaluation.protocol}, {name})", markup=False, highlight=False)
    console.print(table(evaluation, detail.intervals if detail else {}))
    if detail is None:
        return
    if detail.videos < 2:
        console.print("no intervals: all segments are of one video", highlight=False)
    else:
        console.print(f"In brackets: 95 % intervals, {detail.videos} videos resampled whole.", markup=False)
    console.print(beyond(detail))
    for group, parts in detail.groups.items():
        if len(parts) <= MOST_GROUPS:
            console.print(group_table(group, parts))
        else:
            console.print(f"by {group}: {len(parts)} of them, in the files of --json and --report", highlight=False)
    for note in detail.notes:
        console.print(note, markup=False, highlight=False)


def table(evaluation: Evaluation, intervals: Mapping[str, Interval] | None = None) -> Table:
    """Top-1 and top-5 in percent, with the number of segments behind each row; a row over none says so.

    With intervals, a line in brackets below each row holds them.
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


def beyond(detail: Detail) -> Table:
    """Class-mean accuracy, mean top-5 recall and expected calibration error, a row a task."""
    made = Table(box=box.SIMPLE_HEAD)
    for column in ("percent", "class-mean accuracy", "", "mean top-5 recall", " ", "calibration error"):
        made.add_column(column, justify="left" if column == "percent" else "right")
    for task in detail.reliability:
        names = (f"class_mean_{task}_accuracy_at_1", f"mean_{task}_recall_at_5")
        cells = [cell for n in names for cell in (_figure(detail.scores, n), _brackets(detail.intervals.get(n)))]
        made.add_row(task, *cells, _figure(detail.scores, f"{task}_calibration_error"))
    return made


def group_table(group: str, parts: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
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
    """Second less first, in percentage points: gain, loss or noise."""
    title = f"{second} less {first}, over the {segments} segments that both predicted"
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in ("figure", "first", "second", "points", "95 %", "bootstrap p", "right alone", "McNemar p", "is it?"):
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
