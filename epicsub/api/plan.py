"""Which members and which test-time views are worth their cost, measured on the validation list."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from epicsub.api import as_list, data_root, device_of, protocol_of
from epicsub.data.annotations import Segment, read_ids
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views, parse_views
from epicsub.errors import InferenceError, PredictionsError, SubmissionError
from epicsub.inference.cache import Made
from epicsub.inference.targets import Target, predict_checkpoint, predictions_of, resolve_target, resolve_targets
from epicsub.predictions import Predictions
from epicsub.submission.choose import Choice, parse_options
from epicsub.submission.ensemble import aligned
from epicsub.submission.learn import Learned, Place, learn
from epicsub.submission.learn import plan as rank_members
from epicsub.submission.search import Figure, Figures, Labelled, figures
from epicsub.validation import Protocol, find_protocol, read_reference
from epicsub.validation.scores import join

VIEWS_TRIED = ("1x1", "2x1", "3x1", "5x1", "1x3", "3x3", "3x3+flip")


@dataclass(frozen=True)
class Plan:
    """Members ranked by what each adds, and the ensemble that is learned from all of them."""

    protocol: Protocol
    segments: int
    """labelled segments of the validation list"""
    folds: int
    places: list[Place]
    names: list[str]
    learned: Learned

    @property
    def choice(self) -> Choice:
        """The learned ensemble."""
        return Choice(self.learned.blend, 0.0, self.learned)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain numbers.

        Returns:
            protocol, segments, folds, places, members and ensemble.
        """
        return {
            "protocol": self.protocol.name,
            "segments": self.segments,
            "folds": self.folds,
            "places": [
                {
                    "member": place.name,
                    "alone": {name: figure.as_json() for name, figure in place.alone.items()},
                    "adds": place.adds.as_json(),
                    "verdict": place.verdict,
                    "agreed": place.agreed,
                }
                for place in self.places
            ],
            "members": self.learned.blend.records(self.names),
            "ensemble": self.choice.as_json(None),
        }


def plan(
    members: str | Path | Sequence[str | Path],
    *,
    rule: str = "mean",
    tta: str | None = None,
    protocol: str | Path | None = None,
    data: str | Path | None = None,
    device: str = "auto",
) -> Plan:
    """Rank members by what each adds to those before it, cross-validated over the kitchens of the validation list.

    Args:
        members: checkpoints, runs, or files of predictions.
        rule: mean, logits, geometric or rank.
        tta: views per segment. Default: each recipe's own.
        protocol: path or name. Default: that of the first checkpoint's recipe, else ek100.
        data: the data root. Default: $EPICSUB_DATA, else `data/`.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        The ranking, and the ensemble that is learned from all members.

    Raises:
        EpicsubError: options, members or tables that are missing or do not fit together.
    """
    chosen = device_of(device)
    targets = resolve_targets(as_list(members))
    names = [target.name for target in targets]
    options = parse_options(rule, "search", False, "off", names)
    protocol_used = find_protocol(protocol, protocol_of(targets)).protocol
    views = parse_views(tta) if tta else None
    labelled = labelled_members(targets, protocol_used, data_root(data), views, chosen)
    places, folds = rank_members(labelled, names, options.rule)
    return Plan(
        protocol_used, len(labelled.labels), folds, places, names, learn(labelled, options.rule, "search", False)
    )


@dataclass(frozen=True)
class ViewsTried:
    """What test-time views reach and cost."""

    views: Views
    stop: int
    """how many best classes keep their order where views are left out; 0 takes all views"""
    made: Made
    figures: Figures
    change: Figure
    """points of action top-1 more than the first"""

    def to_json(self) -> dict[str, Any]:
        """The row as plain numbers.

        Returns:
            views, stop, a_segment (views), seconds, figures and action_less_first.
        """
        return (
            {"views": str(self.views), "stop": self.stop, "a_segment": self.made.views, "seconds": self.made.seconds}
            | {name: figure.as_json() for name, figure in self.figures.items()}
            | {"action_less_first": self.change.as_json()}
        )


@dataclass(frozen=True)
class ViewsComparison:
    """Test-time views of one model, tried on the validation list."""

    target: str
    segments: int
    rows: Iterator[ViewsTried]
    """each measured when it is asked for"""


def compare_views(
    target: str | Path,
    views: Sequence[str] = VIEWS_TRIED,
    stops: Sequence[int] = (),
    *,
    protocol: str | Path | None = None,
    data: str | Path | None = None,
    device: str = "auto",
) -> ViewsComparison:
    """Measure accuracy against cost of test-time views on the validation list.

    Args:
        target: a checkpoint or a run.
        views: to try, such as 5x3+flip.
        stops: also with views left out that cannot change the order of so many best classes, from 1 to 5.
        protocol: path or name. Default: that of the recipe.
        data: the data root. Default: $EPICSUB_DATA, else `data/`.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        The rows, each measured when it is asked for.

    Raises:
        EpicsubError: a target, views or tables that are missing or do not fit together.
    """
    chosen = device_of(device)
    resolved = resolve_target(str(target))
    if resolved.kind == "predictions":
        raise InferenceError(f"{target}: a file of predictions has had its views; name a checkpoint or a run")
    parsed = [parse_views(text) for text in views]
    root, protocol_used = data_root(data), find_protocol(protocol, protocol_of([resolved])).protocol
    segments = root.segments(protocol_used.validation.list)

    def rows() -> Iterator[ViewsTried]:
        first = None
        for spec, stop in [(spec, stop) for spec in parsed for stop in dict.fromkeys([0, *stops])]:
            made = predict_checkpoint(resolved, segments, root, spec, chosen, stop)
            labelled = _with_labels(protocol_used, root, [made.predictions])
            first = first or made.predictions
            change = figures(labelled, made.predictions, first)["action@1"]
            yield ViewsTried(spec, stop, made, figures(labelled, made.predictions), change)

    return ViewsComparison(resolved.name, len(segments), rows())


def labelled_members(
    targets: Sequence[Target], protocol: Protocol, root: DataRoot, views: Views | None, device: torch.device
) -> Labelled:
    """Predict the protocol's validation list with every member, and read its labels.

    Args:
        targets: the members.
        protocol: names the list.
        root: where the data lies.
        views: views per segment, or None for each recipe's own.
        device: where to predict.

    Returns:
        The members' predictions and the labels, in the order of the list.

    Raises:
        SubmissionError: members that learned from labels of this list, or that have no predictions for it; all at once.
    """
    segments = root.segments(protocol.validation.list)
    ids = [segment.narration_id for segment in segments]
    problems = [line for target in targets for line in _learned_from(target, set(ids), protocol.validation.list, root)]
    if problems:
        raise SubmissionError("\n".join(problems))
    predicted = predict_members(targets, segments, root, views, device)
    hint = f"what is learned is learned on {protocol.validation.list}: give such a member as VALIDATION.npz,TEST.npz"
    return _with_labels(protocol, root, aligned(predicted, ids, hint))


def predict_members(
    targets: Sequence[Target], segments: list[Segment], root: DataRoot, views: Views | None, device: torch.device
) -> dict[str, Predictions]:
    """Predict a list with every member; files are read first, so that their problems are named before anything slow.

    Args:
        targets: the members.
        segments: the list.
        root: where the data lies.
        views: views per segment, or None for each recipe's own.
        device: where to predict.

    Returns:
        Predictions by member, in the order of the targets.

    Raises:
        SubmissionError: files that are not what they should be; all at once.
    """
    found: dict[str, Predictions] = {}
    problems: list[str] = []
    for target in sorted(targets, key=lambda target: target.kind, reverse=True):
        if target.kind == "checkpoint" and problems:
            break
        try:
            found[target.name] = predictions_of(target, segments, root, views, device)
        except PredictionsError as error:
            problems += [f"{target.name}: {line}" for line in str(error).splitlines()]
    if problems:
        raise SubmissionError("\n".join(problems))
    return {target.name: found[target.name] for target in targets}


def _with_labels(protocol: Protocol, root: DataRoot, members: list[Predictions]) -> Labelled:
    """Predictions of the validation list with its labels."""
    if set(protocol.tasks) != {"verb", "noun", "action"}:
        raise SubmissionError(
            f"protocol {protocol.name} scores {', '.join(protocol.tasks)} alone; an ensemble needs both heads"
        )
    reference = read_reference(protocol, root.path / "annotations", len(members[0]))
    return Labelled(members, join(members[0], reference.labels))


def _learned_from(target: Target, ids: set[str], name: str, root: DataRoot) -> list[str]:
    """A line where a checkpoint was trained with labels of these segments, so that nothing can be learned from them."""
    lines = []
    for source in target.checkpoint.recipe["data"]["source"] if target.checkpoint else []:
        path = root.path / "annotations" / source
        shared = len(ids) if source == name else len(ids & set(read_ids(path, "narration_id"))) if path.is_file() else 0
        if shared:
            lines.append(
                f"{target.name} was trained with the labels of {shared} of the {len(ids)} segments of {name} "
                f"(by {source}): weights learned there would trust what it has by heart; give weights by hand, or "
                "another --protocol"
            )
    return lines
