"""Scores as the organisers compute them, and what they are worth."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epicsub.api import data_root, device_of, protocol_of
from epicsub.api.boxes import box_remarks, reads_boxes, scores_by_boxes
from epicsub.data.annotations import Segment, read_skip_list
from epicsub.data.root import DataRoot
from epicsub.data.sampling import parse_views
from epicsub.data.sources import middle_frames
from epicsub.errors import ValidationError
from epicsub.inference.box_pictures import box_thumbnails
from epicsub.inference.targets import Target, predictions_of, resolve_targets
from epicsub.io import user_path, write_text
from epicsub.predictions import Predictions
from epicsub.training.run_folder import read_metrics
from epicsub.validation import (
    Background,
    Difference,
    Model,
    Protocol,
    Reference,
    compare,
    detail,
    find_protocol,
    load_protocol,
    page_data,
    read_background,
    read_reference,
    write_page,
    write_record,
    write_table,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validation:
    """Scores and further figures of one or more models under a protocol."""

    protocol: Protocol
    models: list[Model]
    """in the order of the targets; others are compared with the first"""
    comparisons: dict[str, tuple[int, list[Difference]]]
    """name of each other model -> segments in common, and its figures less those of the first"""
    reference: Reference
    background: Background
    segments: list[Segment]
    root: DataRoot
    records: Path
    """folder in which figures under this protocol are recorded"""
    boxed: Target | None = None
    """the first target with `data.boxes`, which draws them on the pictures of a report"""
    device: str = "auto"
    """where that target runs"""

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """By model, the organisers' scores in percent."""
        return {model.name: model.evaluation.scores for model in self.models}

    @property
    def coverage(self) -> dict[str, tuple[int, int]]:
        """By model, how many segments were predicted, and of how many."""
        return {model.name: (model.evaluation.segments, model.evaluation.of) for model in self.models}

    def to_json(self) -> dict[str, Any]:
        """The figures as plain numbers.

        Returns:
            By model: protocol, coverage, scores, detail and, of a run that has them, mean_of_last and boxes.
        """
        content = {}
        for model in self.models:
            content[model.name] = model.evaluation.as_json() | {"detail": model.detail.as_json()}
            if model.mean_of_last:
                content[model.name]["mean_of_last"] = model.mean_of_last
            if model.boxes:
                content[model.name]["boxes"] = dict(model.boxes)
        return content

    def write_json(self, path: Path) -> None:
        """Write `to_json()`, whole or not at all.

        Args:
            path: the file.

        Raises:
            ValidationError: the place cannot be written.
        """
        write_text(path, json.dumps(self.to_json(), indent=2) + "\n", ValidationError)

    def write_report(self, folder: Path) -> Path:
        """Write a page with tables, curves, confusions, and the middle frames of the most confident mistakes.

        Of a model with boxes, frames are as it saw them, with slots and its attention to them.

        Args:
            folder: for `index.html`.

        Returns:
            The path of the page.

        Raises:
            ValidationError: the place cannot be written.
            InferenceError: boxes are to be drawn, and videos are missing.
        """
        content = page_data(self.models, self.comparisons, self.reference, self.background, self.protocol.selection)
        shown = {mistake["id"] for model in content["models"] for mistake in model["mistakes"]}
        segments = [segment for segment in self.segments if segment.narration_id in shown]
        if self.boxed is not None and segments:
            pictures = box_thumbnails(self.boxed, segments, self.root, device_of(self.device))
        else:
            pictures = middle_frames(self.root, segments)
        return write_page(user_path(folder), content, pictures)

    def write_records(self, folder: Path | None = None) -> list[Path]:
        """Record each model's figures, and write the table of all records.

        Args:
            folder: for the records. Default: `runs/` beside a protocol given by path; `validation/runs/` of the
                working folder for one that comes with epicsub.

        Returns:
            The paths of the records and of the table.

        Raises:
            ValidationError: a record cannot be read, or the place cannot be written.
        """
        place = self.records if folder is None else user_path(folder)
        written = [write_record(m.name, m.evaluation, m.detail, m.provenance, place) for m in self.models]
        return [*written, write_table(place)]


def validate(
    targets: str | Path | Predictions | Sequence[str | Path | Predictions],
    protocol: str | Path | None = None,
    data: str | Path | None = None,
    *,
    tta: str | None = None,
    count: int | None = None,
    skip: Path | None = None,
    device: str = "auto",
    on_model: Callable[[Model], None] | None = None,
) -> Validation:
    """Score models on the validation list of a protocol as the organisers do.

    Args:
        targets: checkpoints, runs, files of predictions, or predictions.
        protocol: path or name. Default: that of the first checkpoint's recipe, else ek100.
        data: the data root. Default: $EPICSUB_DATA, else `data/`.
        tta: views per segment, such as 5x3+flip. Default: each recipe's own.
        count: number of segments that the list must have. Default: the protocol's.
        skip: file of narration ids to leave out.
        device: auto, cpu, cuda, cuda:N or mps.
        on_model: called with each model as soon as it is scored.

    Returns:
        Scores, intervals, groups and comparisons.

    Raises:
        EpicsubError: targets, protocol or tables that are missing or do not fit together.
    """
    chosen = device_of(device)
    given = [targets] if isinstance(targets, str | Path | Predictions) else list(targets)
    resolved = resolve_targets([str(one) for one in given if not isinstance(one, Predictions)])
    found = find_protocol(protocol, protocol_of(resolved))
    root = data_root(data)
    segments = _segments(root, found.protocol, skip)
    views = parse_views(tta) if tta else None
    reference = read_reference(found.protocol, root.path / "annotations", count)
    background = read_background(found.protocol, root.path / "annotations")
    models: list[Model] = []
    left = iter(resolved)
    for one in given:
        if isinstance(one, Predictions):
            target, predicted = None, one
            name = f"predictions {len(models) + 1}"
        else:
            target = next(left)
            name, predicted = target.name, predictions_of(target, segments, root, views, chosen)
        checkpoint = target.checkpoint if target else None
        remarks = _selection_notes(target, found.protocol) if target else ()
        boxes: dict[str, Any] = {}
        if target is not None and reads_boxes(target):
            boxes = scores_by_boxes(target, root, segments, predicted, reference)
            remarks = (*remarks, *box_remarks(boxes))
        model = Model(
            name=name,
            predictions=predicted,
            evaluation=reference.evaluate(predicted),
            detail=detail(predicted, reference, background, remarks),
            metrics=read_metrics(target.path.parent / "metrics.jsonl") if target and checkpoint else [],
            notes=tuple(target.notes()) if target else (),
            mean_of_last=checkpoint.mean_of_last if checkpoint else {},
            provenance=_provenance(target, predicted, tta) | ({"boxes": boxes["coverage"]} if boxes else {}),
            boxes=boxes,
        )
        if on_model:
            on_model(model)
        models.append(model)
    first, *others = models
    comparisons = {other.name: compare(first.predictions, other.predictions, reference) for other in others}
    boxed = next((one for one in resolved if one.checkpoint and one.recipe.data.boxes), None)
    lists = (reference, background, segments, root, found.records)
    return Validation(found.protocol, models, comparisons, *lists, boxed, device)


def _segments(root: DataRoot, protocol: Protocol, skip: Path | None) -> list[Segment]:
    """The validation list without what a skip list names."""
    listed = root.segments(protocol.validation.list)
    skipped = read_skip_list(skip) if skip else set()
    segments = [segment for segment in listed if segment.narration_id not in skipped]
    if len(segments) < len(listed):
        log.info("%d of %d segments are named in %s and left out", len(listed) - len(segments), len(listed), skip)
    return segments


def _provenance(target: Target | None, predicted: Predictions, tta: str | None) -> dict[str, Any]:
    """What figures came from: the content, and a checkpoint's recipe, seed, step, commit and views."""
    if target is None:
        arrays = (predicted.narration_ids, predicted.verb_logprobs, predicted.noun_logprobs)
        content = b"".join(array.tobytes() for array in arrays)
        return {"kind": "predictions", "sha256": hashlib.sha256(content).hexdigest()}
    provenance: dict[str, Any] = {"kind": target.kind, "sha256": target.sha256}
    if checkpoint := target.checkpoint:
        provenance |= {
            "recipe": checkpoint.recipe["name"],
            "seed": checkpoint.seed,
            "step": checkpoint.step,
            "commit": checkpoint.commit,
            "chosen_by": checkpoint.recipe["train"]["select"],
            "views": tta or checkpoint.recipe["evaluation"]["views"],
        }
    return provenance


def _selection_notes(target: Target, protocol: Protocol) -> tuple[str, ...]:
    """A note where a checkpoint was chosen by the labels that are scored, and whether the protocol allows that."""
    if target.checkpoint is None:
        return ()
    recipe = target.checkpoint.recipe
    select, own = recipe["train"]["select"], recipe["evaluation"]["protocol"]
    if select == "last" or select.startswith("label_free"):
        return ()
    try:
        if load_protocol(own).validation.list != protocol.validation.list:
            return ()
    except ValidationError:
        return (f"{target.name} was chosen by {select} under {own}, whose list is not known here",)
    chosen = f"{target.name} was chosen by {select} on {protocol.validation.list}, the list that is scored here"
    if protocol.may_select(protocol.validation.list):
        return (f"{chosen}, as protocol {protocol.name} allows: report it on another list",)
    return (f"{chosen}: its figures are too high, and protocol {protocol.name} keeps these labels for reporting",)
