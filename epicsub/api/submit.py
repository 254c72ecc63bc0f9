"""Members become one checked upload: ensembles, submissions and their checks."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from epicsub.api import as_list, data_root, device_of, protocol_of
from epicsub.api.boxes import coverage_of, reads_boxes
from epicsub.api.plan import labelled_members, predict_members
from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.data.sampling import parse_views
from epicsub.errors import SubmissionError
from epicsub.inference.targets import Target, resolve_targets
from epicsub.io import sha256, user_path
from epicsub.predictions import Predictions
from epicsub.submission import Levels, Written, combine_levels, fill_prior, levels_of_recipe
from epicsub.submission import check_submission as check_file
from epicsub.submission import write_submission as write_files
from epicsub.submission.choose import Choice, choose, parse_options
from epicsub.submission.ensemble import aligned
from epicsub.submission.pairs import read_ratio
from epicsub.submission.search import Labelled
from epicsub.text import name_some
from epicsub.validation import RECORDS, Protocol, find_protocol, recorded_scores

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Ensemble(Predictions):
    """Predictions of the test list by an ensemble, and what a submission states of them."""

    choice: Choice
    """how the members were joined"""
    expected: int
    """segments that the list must have"""
    challenge: str
    member_levels: Mapping[str, Mapping[str, int] | None]
    """supervision levels by member; None where a file does not say them"""
    levels: Levels | None
    """of the ensemble; None where they were not given"""
    manifest: Mapping[str, Any]
    """members, protocol, views, filled_with_prior, ensemble"""
    notes: tuple[str, ...]
    """what the user should know: levels that were raised, weights, labels that chose them, segments that were filled"""
    segments: tuple[Segment, ...] = ()
    """of the test list"""


def ensemble(
    members: str | Path | Sequence[str | Path],
    *,
    rule: str = "mean",
    weights: str = "equal",
    temperature: bool = False,
    cooccurrence: str = "off",
    tta: str | None = None,
    fill: Literal["none", "prior"] = "none",
    fill_count: int | None = None,
    levels: Mapping[str, int | None] | None = None,
    protocol: str | Path | None = None,
    data: str | Path | None = None,
    count: int | None = None,
    device: str = "auto",
) -> Ensemble:
    """Predict the test list of a protocol with one or more members, joined.

    Args:
        members: checkpoints, runs, or files of predictions.
        rule: mean of probabilities, logits or geometric (the mean of logits), or rank.
        weights: equal; by member, such as `0.5,0.3,0.2` or `VERBS/NOUNS`; or search, greedy or likelihood, which learn
            them on the validation list.
        temperature: learn each member's temperature on the validation list.
        cooccurrence: re-rank by training's verb-noun pairs: off, a strength from 0 to 1, or auto, where it helps.
        tta: views per segment, such as 5x3+flip. Default: each recipe's own.
        fill: prior gives missing segments the class frequencies of the training list.
        fill_count: segments that it may fill per member. Default: half of the list. A member that has none is refused.
        levels: pretraining, labels and data, from 0 to 5, in place of those of the recipes; what is not known is
            refused before anything slow. None leaves them to `write_submission`.
        protocol: path or name. Default: that of the first checkpoint's recipe, else ek100.
        data: the data root. Default: $EPICSUB_DATA, else `data/`.
        count: number of segments that the test list must have. Default: the protocol's.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        Predictions of the test list in its order, with what a submission states of them.

    Raises:
        EpicsubError: options, members or tables that are missing or do not fit together.
    """
    chosen = device_of(device)
    targets = resolve_targets(as_list(members))
    names = [target.name for target in targets]
    options = parse_options(rule, weights, temperature, cooccurrence, names)
    root = data_root(data)
    name, protocol_used = find_protocol(protocol, protocol_of(targets))
    segments, expected = _test_segments(root, protocol_used, name, count)
    ids = [segment.narration_id for segment in segments]
    notes: list[str] = []
    later = _later_videos(root, protocol_used, segments)
    member_levels = {target.name: _recipe_levels(target, protocol_used, notes, later) for target in targets}
    combined = None if levels is None else combine_levels(member_levels, levels)
    views = parse_views(tta) if tta else None
    labelled = labelled_members(targets, protocol_used, root, views, chosen) if options.learns else None
    log_ratio_VM = read_ratio(root.path / "annotations" / protocol_used.training_list) if options.cooccurrence else None
    choice = choose(options, len(targets), labelled, log_ratio_VM)
    learned_on = _learned_on(labelled, protocol_used) if labelled else None
    notes += choice.report(names)
    if learned_on and not learned_on["list_is_for_selection"]:
        notes.append(
            f"chosen by labels of {learned_on['list']}, which {name} keeps for reporting: "
            "mention that beside its score there"
        )
    predicted = predict_members(targets, segments, root, views, chosen)
    filled: dict[str, list[str]] = {}
    if fill == "prior":
        predicted, filled = fill_prior(
            predicted, ids, root.path / "annotations", protocol_used.training_list, fill_count
        )
        notes += [
            f"note: {member}: the class prior of {protocol_used.training_list} stands for {len(names_filled)} of "
            f"{len(ids)} segments: {name_some(names_filled)}"
            for member, names_filled in filled.items()
        ]
    joined = choice.apply(aligned(predicted, ids), log_ratio_VM)
    records = choice.blend.records(names)
    manifest = {
        "protocol": name,
        "filled_with_prior": filled,
        "views": tta or "each recipe's own",
        "members": [
            _member_record(target, tta)
            | records[target.name]
            | ({"boxes": coverage_of(target, root, segments)} if reads_boxes(target) else {})
            for target in targets
        ],
        "ensemble": choice.as_json(learned_on),
    }
    return Ensemble(
        joined.narration_ids, joined.verb_logprobs, joined.noun_logprobs, choice=choice, expected=expected,
        challenge=protocol_used.challenge, member_levels=member_levels, levels=combined, manifest=manifest,
        notes=tuple(notes), segments=tuple(segments),
    )  # fmt: skip


def write_submission(
    predictions: Ensemble,
    name: str = "submission",
    *,
    levels: Mapping[str, int | None] | None = None,
    folder: Path = Path("submissions"),
) -> Written:
    """Write submission.pt, its zip, test.json in a zip and the manifest, and read them again as the organisers would.

    Args:
        predictions: as `ensemble` gives them.
        name: of the submission: a folder under `folder`.
        levels: pretraining, labels and data, from 0 to 5, in place of those of the recipes.
        folder: of all submissions.

    Returns:
        The paths of the four files.

    Raises:
        SubmissionError: levels that are not known, a place that cannot be written, or a written file that is not what
            it should be.
    """
    stated = predictions.levels if levels is None else None
    stated = stated or combine_levels(predictions.member_levels, levels)
    ids = predictions.narration_ids.tolist()
    expected, challenge = predictions.expected, predictions.challenge
    place = user_path(folder) / user_path(name)
    written = write_files(place, predictions, ids, expected, stated, predictions.manifest, challenge)
    found = {
        file: check_file(file, ids, expected, challenge=challenge, own=predictions, segments=predictions.segments)
        for file in written[:3]
    }
    for warning in found[written.pt].warnings:
        log.warning("%s: %s", written.pt, warning)
    problems = [f"{file}: {text}" for file, findings in found.items() for text in findings.problems]
    if problems:
        raise SubmissionError("a fault of epicsub's own: keep these files, and report it:\n" + "\n".join(problems))
    return written


def _test_segments(root: DataRoot, protocol: Protocol, name: str, count: int | None) -> tuple[list[Segment], int]:
    """The test list's segments, and how many there must be."""
    segments, expected = root.segments(protocol.test.list), count or protocol.test.count
    if len(segments) != expected:
        raise SubmissionError(
            f"{root.annotations(protocol.test.list)}: {len(segments)} segments, but {name} expects {expected}. "
            f"If this is the list of your phase, give --count {len(segments)}"
        )
    return segments, expected


def _learned_on(labelled: Labelled, protocol: Protocol) -> dict[str, Any]:
    """What the manifest states of the labels that chose an ensemble."""
    return {
        "protocol": protocol.name,
        "list": protocol.validation.list,
        "segments": len(labelled.labels),
        "kitchens": sorted(set(labelled.kitchens.tolist())),
        "list_is_for_selection": protocol.may_select(protocol.validation.list),
    }


def _later_videos(root: DataRoot, protocol: Protocol, test: list[Segment]) -> set[str]:
    """Videos of the test list, and of the validation list where it is there."""
    there = root.annotations(protocol.validation.list).is_file()
    validation = root.segments(protocol.validation.list) if there else []
    return {segment.video_id for segment in (*test, *validation)}


def _recipe_levels(
    target: Target, protocol: Protocol, notes: list[str], later_videos: set[str]
) -> dict[str, int] | None:
    """Supervision levels of a checkpoint by its recipe; a file of predictions does not know its own."""
    if target.checkpoint is None:
        return None
    later = (protocol.validation.list, protocol.test.list)
    checkpoint = target.checkpoint
    derived = levels_of_recipe(checkpoint.recipe, (protocol.training_list,), later, checkpoint.initial, later_videos)
    notes += [f"note: {target.name}: {note}" for note in derived.notes]
    return derived.levels


def _member_record(target: Target, tta: str | None) -> dict[str, Any]:
    """What the manifest keeps of a member."""
    record: dict[str, Any] = {"name": target.name, "kind": target.kind, "sha256": target.sha256}
    if target.also:
        record["also"] = {str(path): sha256(path) for path in target.also}
    if checkpoint := target.checkpoint:
        record |= {
            "views": tta or checkpoint.recipe["evaluation"]["views"],
            "step": checkpoint.step,
            "steps": checkpoint.steps,
            "commit": checkpoint.commit,
            "scores": checkpoint.scores,
            "adapted_to": checkpoint.recipe["data"]["target"],
            "pretrained_on": checkpoint.initial.get("lists", {}),
            "validation": recorded_scores(target.sha256, RECORDS),
        }
    return record
