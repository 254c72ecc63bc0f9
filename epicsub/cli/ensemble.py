"""epicsub ensemble: which members are worth their cost, and which views."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epicsub.cli.options import DataOption, DeviceOption, ProtocolOption, TtaOption

if TYPE_CHECKING:
    import torch

    from epicsub.data.root import DataRoot
    from epicsub.data.sampling import Views
    from epicsub.inference.targets import Target
    from epicsub.submission.search import Labelled
    from epicsub.validation import Protocol

MEMBERS = typer.Argument(help="Checkpoints, runs, or files of predictions (VALIDATION.npz,TEST.npz for two lists).")
RuleOption = Annotated[
    str, typer.Option(help="mean of probabilities, logits (the mean of logits, which is the geometric mean), or rank.")
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]
VIEWS_TRIED = ("1x1", "2x1", "3x1", "5x1", "1x3", "3x3", "3x3+flip")


def plan_members(
    members: Annotated[list[str], MEMBERS],
    rule: RuleOption = "mean",
    tta: TtaOption = None,
    json_file: JsonOption = None,
    protocol: ProtocolOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Rank members by what each adds to those before it, cross-validated over kitchens."""
    from epicsub.cli.options import data_root, device_of
    from epicsub.cli.submit import recipe_protocol
    from epicsub.data.sampling import parse_views
    from epicsub.inference.targets import resolve_targets
    from epicsub.submission.choose import Choice, parse_options
    from epicsub.submission.learn import learn, plan
    from epicsub.validation import load_protocol

    targets = resolve_targets(members)
    names = [target.name for target in targets]
    options = parse_options(rule, "search", False, "off", names)
    rules = load_protocol(protocol or recipe_protocol(targets))
    views = parse_views(tta) if tta else None
    labelled = labelled_members(targets, rules, data_root(data), views, device_of(device))
    places, folds = plan(labelled, names, options.rule)
    typer.echo(f"{len(labelled.labels)} segments of {rules.validation.list}, {folds} folds of whole kitchens")
    typer.echo(f"{'':3}{'member':24}{'verb':>18}{'noun':>18}{'action':>18}{'adds':>20}  in words, and folds that agree")
    for number, place in enumerate(places, start=1):
        alone = "".join(f"{place.alone[figure]!s:>18}" for figure in ("verb@1", "noun@1", "action@1"))
        word = place.verdict if number > 1 else "first"
        typer.echo(f"{number:<3}{place.name:24}{alone}{place.adds!s:>20}  {word}, {place.agreed} of {folds}")
    learned = learn(labelled, options.rule, "search", False)
    for line in Choice(learned.blend, 0.0, learned).report(names):
        typer.echo(line)
    if json_file:
        write_figures(
            json_file,
            {
                "protocol": rules.name,
                "segments": len(labelled.labels),
                "folds": folds,
                "places": [
                    {
                        "member": place.name,
                        "alone": {name: figure.as_json() for name, figure in place.alone.items()},
                        "adds": place.adds.as_json(),
                        "verdict": place.verdict,
                        "agreed": place.agreed,
                    }
                    for place in places
                ],
                "members": learned.blend.records(names),
                "ensemble": Choice(learned.blend, 0.0, learned).as_json(None),
            },
        )


def views_table(
    target: Annotated[str, typer.Argument(help="A checkpoint or a run.")],
    tta: Annotated[list[str] | None, typer.Option("--tta", help="Views to try; may be given many times.")] = None,
    stop: Annotated[
        list[int] | None,
        typer.Option("--stop", min=0, max=5, help="Also with views left out; may be given many times."),
    ] = None,
    json_file: JsonOption = None,
    protocol: ProtocolOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Accuracy against cost of test-time views on the validation list."""
    from epicsub.cli.options import data_root, device_of
    from epicsub.cli.submit import recipe_protocol
    from epicsub.data.annotations import read_segments
    from epicsub.data.sampling import parse_views
    from epicsub.errors import InferenceError
    from epicsub.inference.targets import predict_checkpoint, resolve_target
    from epicsub.submission.search import figures
    from epicsub.validation import load_protocol

    resolved = resolve_target(target)
    if resolved.kind == "predictions":
        raise InferenceError(f"{target}: a file of predictions has had its views; name a checkpoint or a run")
    specs = [parse_views(text) for text in tta or VIEWS_TRIED]
    rules, root = load_protocol(protocol or recipe_protocol([resolved])), data_root(data)
    segments = read_segments(root.annotations(rules.validation.list))
    chosen = device_of(device)
    rows: list[dict[str, Any]] = []
    first = None
    titles = "".join(f"{title:>20}" for title in ("verb", "noun", "action", "less the first"))
    typer.echo(f"{'views':24}{'a segment':>10}{'seconds':>9}{titles}")
    for spec, depth in [(spec, depth) for spec in specs for depth in dict.fromkeys([0, *(stop or [])])]:
        made = predict_checkpoint(resolved, segments, root, spec, chosen, depth)
        labelled = label(rules, root, [made.predictions])
        first = first or made.predictions
        found = figures(labelled, made.predictions)
        change = figures(labelled, made.predictions, first)["action@1"]
        name = f"{spec} --stop {depth}" if depth else str(spec)
        cells = "".join(f"{found[figure]!s:>20}" for figure in ("verb@1", "noun@1", "action@1"))
        typer.echo(f"{name:24}{made.views:>10.1f}{made.seconds:>9.1f}{cells}{change!s:>20}")
        rows.append(
            {"views": str(spec), "stop": depth, "a_segment": made.views, "seconds": made.seconds}
            | {figure: value.as_json() for figure, value in found.items()}
            | {"action_less_first": change.as_json()}
        )
    typer.echo(
        "percent and points with 95 % intervals over videos; seconds of decoding and prediction when it was made"
    )
    if json_file:
        write_figures(json_file, {"target": resolved.name, "segments": len(segments), "rows": rows})


def labelled_members(
    targets: "list[Target]", rules: "Protocol", root: "DataRoot", views: "Views | None", device: "torch.device"
) -> "Labelled":
    """The members' predictions of the protocol's validation list, with its labels.

    Raises:
        SubmissionError: members that learned from labels of this list, or that have no predictions for it; all at once.
    """
    from epicsub.data.annotations import read_segments
    from epicsub.errors import SubmissionError
    from epicsub.inference.targets import predictions_of
    from epicsub.submission.ensemble import aligned

    segments = read_segments(root.annotations(rules.validation.list))
    ids = [segment.narration_id for segment in segments]
    problems = [line for target in targets for line in learned_from(target, set(ids), rules.validation.list, root)]
    if problems:
        raise SubmissionError("\n".join(problems))
    predicted = {target.name: predictions_of(target, segments, root, views, device) for target in targets}
    hint = f"what is learned is learned on {rules.validation.list}: give such a member as VALIDATION.npz,TEST.npz"
    return label(rules, root, aligned(predicted, ids, hint))


def label(rules: "Protocol", root: "DataRoot", members: list) -> "Labelled":
    """Predictions of the validation list with its labels.

    Raises:
        SubmissionError: the protocol has no verbs or no nouns to be right about.
    """
    from epicsub.errors import SubmissionError
    from epicsub.submission.search import Labelled
    from epicsub.validation import read_reference
    from epicsub.validation.scores import join

    if set(rules.tasks) != {"verb", "noun", "action"}:
        raise SubmissionError(
            f"protocol {rules.name} scores {', '.join(rules.tasks)} alone; an ensemble needs both heads"
        )
    reference = read_reference(rules, root.path / "annotations", len(members[0]))
    return Labelled(members, join(members[0], reference.labels))


def learned_from(target: "Target", ids: set[str], name: str, root: "DataRoot") -> list[str]:
    """A line where a checkpoint was trained with labels of these segments, so that nothing can be learned from them."""
    from epicsub.data.annotations import read_ids
    from epicsub.training.checkpoint import load_checkpoint

    if target.kind != "checkpoint":
        return []
    lines = []
    for source in load_checkpoint(target.path).recipe["data"]["source"]:
        path = root.path / "annotations" / source
        shared = len(ids) if source == name else len(ids & set(read_ids(path, "narration_id"))) if path.is_file() else 0
        if shared:
            lines.append(
                f"{target.name} was trained with the labels of {shared} of the {len(ids)} segments of {name} "
                f"(by {source}): weights learned there would trust what it has by heart; give weights by hand, or "
                "another --protocol"
            )
    return lines


def learned_on(labelled: "Labelled", rules: "Protocol") -> dict[str, Any]:
    """What the manifest says of the labels that chose an ensemble."""
    return {
        "protocol": rules.name,
        "list": rules.validation.list,
        "segments": len(labelled.labels),
        "kitchens": sorted(set(labelled.kitchens.tolist())),
        "list_is_for_selection": rules.validation.list in rules.selection_lists,
    }


def write_figures(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    import json

    from epicsub.io import write_text

    write_text(path, json.dumps(content, indent=1) + "\n")
    typer.echo(f"wrote {path}")
