"""Scores of models on a list whose labels are never read."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from epicsub.api import as_list, data_root, device_of, protocol_of
from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.data.annotations import Segment, read_skip_list
from epicsub.data.domains import load_source, load_target
from epicsub.data.root import DataRoot
from epicsub.data.sampling import parse_views
from epicsub.errors import ValidationError
from epicsub.inference.targets import Target, predictions_of, resolve_targets
from epicsub.io import write_text
from epicsub.predictions import Predictions
from epicsub.text import first_of
from epicsub.validation import Protocol, find_protocol
from epicsub.validation.label_free import SCORES, LabelFree, label_free

CLASSES = {"verb": NUM_VERBS, "noun": NUM_NOUNS}


@dataclass(frozen=True)
class LabelFreeLists:
    """What models are scored on: target segments without labels, and labelled source segments that none has learned."""

    target_list: str
    target: list[Segment]
    held_out_list: str
    held_out: list[Segment]
    priors: dict[str, np.ndarray]
    """Shares of classes in the protocol's training list, of verb, and of noun where the lists have nouns."""

    def score(self, target: Predictions, held_out: Predictions) -> LabelFree:
        """Score a model.

        Args:
            target: its predictions for the target, in the list's order.
            held_out: for the held-out source, in the list's order.

        Returns:
            Scores by name.
        """
        labels = {
            task: np.array([getattr(segment, f"{task}_class") for segment in self.held_out]) for task in self.priors
        }
        return label_free(target, held_out, labels, self.priors)


@dataclass(frozen=True)
class LabelFreeValidation:
    """Label-free scores of one or more models."""

    protocol: Protocol
    lists: LabelFreeLists
    models: dict[str, LabelFree]
    """By the target's name."""

    @property
    def best(self) -> dict[str, str]:
        """Name of the model with the highest of each score; of equal ones the first."""
        return {score: max(self.models, key=lambda name: self.models[name].scores[score]) for score in SCORES}

    def write_json(self, path: Path) -> None:
        """Write the figures, whole or not at all.

        Args:
            path: the file.

        Raises:
            ValidationError: the place cannot be written.
        """
        content: dict[str, Any] = {
            name: {
                "protocol": self.protocol.name,
                "target": self.lists.target_list,
                "held_out": self.lists.held_out_list,
            }
            | found.as_json()
            for name, found in self.models.items()
        }
        write_text(path, json.dumps(content, indent=2) + "\n", ValidationError)


def read_lists(protocol: Protocol, held_out: str, root: DataRoot, skip: Path | None = None) -> LabelFreeLists:
    """Read the lists of a label-free score.

    Args:
        protocol: whose validation list is the target, and whose training list gives the priors.
        held_out: name of the labelled list.
        root: the data root.
        skip: file of narration ids to leave out of both.

    Returns:
        The lists.

    Raises:
        ValidationError: the held-out list is the target, or too small.
        DataError: a list is missing or wrong, or segments are in both.
    """
    if held_out == protocol.validation.list:
        raise ValidationError(
            f"{held_out}: is the list that is scored without its labels; name a labelled list of the source that no "
            "model was trained on"
        )
    skipped = read_skip_list(skip) if skip else set()
    nouns = "noun" in protocol.tasks
    target = load_target(root, [protocol.validation.list], skipped)[0]
    source = load_source(root, [held_out], skipped, protocol.verbs, nouns)
    both = {segment.narration_id for segment in target} & {segment.narration_id for segment in source}
    if both:
        raise ValidationError(
            f"{held_out}: shares {len(both)} narration ids with {protocol.validation.list}, {first_of(sorted(both))}: "
            "name a list without them"
        )
    if min(len(target), len(source)) < 4:
        raise ValidationError(
            f"{held_out} and {protocol.validation.list}: each must have four segments or more, without those of --skip"
        )
    training = load_source(root, [protocol.training_list], (), protocol.verbs, nouns)
    priors = {}
    for task in ("verb", "noun") if nouns else ("verb",):
        class_S = np.array([getattr(segment, f"{task}_class") for segment in training])
        priors[task] = np.bincount(class_S, minlength=CLASSES[task]) / len(class_S)
    return LabelFreeLists(protocol.validation.list, target, held_out, source, priors)


def validate_label_free(
    targets: str | Path | Sequence[str | Path],
    held_out: str,
    protocol: str | Path | None = None,
    data: str | Path | None = None,
    *,
    tta: str | None = None,
    skip: Path | None = None,
    device: str = "auto",
    on_model: Callable[[str, LabelFree], None] | None = None,
) -> LabelFreeValidation:
    """Score models on the validation list of a protocol without reading its labels.

    Args:
        targets: checkpoints, runs, or files of predictions for both lists (with a comma between).
        held_out: a labelled list of the source that none of them was trained on, by its name under annotations/.
        protocol: path or name. Default: that of the first checkpoint's recipe, else ek100.
        data: the data root. Default: $EPICSUB_DATA, else `data/`.
        tta: views per segment. Default: each recipe's own.
        skip: file of narration ids to leave out.
        device: auto, cpu, cuda, cuda:N or mps.
        on_model: called with each model as soon as it is scored.

    Returns:
        Scores.

    Raises:
        EpicsubError: targets, protocol or lists that are missing or do not fit together, or a model that was trained
            on the held-out list.
    """
    chosen = device_of(device)
    resolved = resolve_targets(as_list(targets))
    found, root = find_protocol(protocol, protocol_of(resolved)).protocol, data_root(data)
    lists = read_lists(found, held_out, root, skip)
    _refuse_trained(resolved, lists, root)
    views, models = parse_views(tta) if tta else None, {}
    for target in resolved:
        of_list = []
        for segments in (lists.target, lists.held_out):
            predicted = predictions_of(target, segments, root, views, chosen)
            of_list.append(predicted.select([segment.narration_id for segment in segments]))
        models[target.name] = lists.score(*of_list)
        if on_model:
            on_model(target.name, models[target.name])
    return LabelFreeValidation(found, lists, models)


def _refuse_trained(targets: Sequence[Target], lists: LabelFreeLists, root: DataRoot) -> None:
    """Refuse models whose own training list has segments of the held-out list: they know them by heart."""
    held = {segment.narration_id for segment in lists.held_out}
    problems = []
    for target in targets:
        for name in target.recipe.data.source if target.checkpoint else ():
            learned = held & {segment.narration_id for segment in root.segments(name)}
            if learned:
                problems.append(
                    f"{target.name}: was trained on {name}, which has {len(learned)} of the {len(held)} segments of "
                    f"{lists.held_out_list}: name a list that it has not seen, e.g. of `epicsub data lists`"
                )
    if problems:
        raise ValidationError("\n".join(problems))
