"""epicsub submit: members become one checked upload."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from epicsub.cli.ensemble import RuleOption, labelled_members, learned_on
from epicsub.cli.options import DEFAULT_PROTOCOL, CountOption, DataOption, DeviceOption, ProtocolOption, TtaOption
from epicsub.text import counted

if TYPE_CHECKING:
    import numpy as np
    import torch

    from epicsub.data.annotations import Segment
    from epicsub.data.root import DataRoot
    from epicsub.data.sampling import Views
    from epicsub.inference.targets import Target
    from epicsub.predictions import Predictions
    from epicsub.submission import Levels
    from epicsub.submission.choose import Choice, EnsembleOptions
    from epicsub.validation import Protocol

RECORDS = Path("validation/runs")
"""Where `epicsub validate --record` keeps its figures."""
LevelOption = Annotated[int | None, typer.Option(min=0, max=5, help="Supervision level. Default: the recipes'.")]


def submit(
    members: Annotated[list[str], typer.Argument(help="Checkpoints, runs, or files of test predictions.")],
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Join several members.")] = False,
    rule: RuleOption = "mean",
    weights: Annotated[
        str,
        typer.Option(
            help="By member: 0.5,0.3,0.2, or VERBS/NOUNS; or learned on validation: search, greedy or likelihood."
        ),
    ] = "equal",
    temperature: Annotated[
        bool, typer.Option("--temperature", help="Learn each member's temperature on the validation list.")
    ] = False,
    cooccurrence: Annotated[
        str, typer.Option(help="Re-rank by training's verb-noun pairs: off, a strength to 1, or auto: where it helps.")
    ] = "off",
    tta: TtaOption = None,
    name: Annotated[str, typer.Option(help="Folder under submissions/.")] = "submission",
    fill: Annotated[
        Literal["none", "prior"], typer.Option(help="prior: class frequencies for missing segments.")
    ] = "none",
    sls_pt: LevelOption = None,
    sls_tl: LevelOption = None,
    sls_td: LevelOption = None,
    protocol: ProtocolOption = None,
    count: CountOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Write submission.pt, submission.zip, submission_json.zip and the manifest, and check them."""
    from epicsub.cli.options import data_root, device_of
    from epicsub.data.sampling import parse_views
    from epicsub.errors import SubmissionError
    from epicsub.inference.targets import predictions_of, resolve_targets
    from epicsub.submission import combine_levels, fill_prior
    from epicsub.submission.choose import parse_options
    from epicsub.submission.ensemble import aligned
    from epicsub.validation import load_protocol

    if len(members) > 1 and not ensemble:
        raise SubmissionError(f"{len(members)} members given: add --ensemble to average them")
    targets = resolve_targets(members)
    names = [target.name for target in targets]
    options = parse_options(rule, weights, temperature, cooccurrence, names)
    root = data_root(data)
    path = protocol or recipe_protocol(targets)
    rules = load_protocol(path)
    segments, expected = segments_of_phase(root, rules, path, count)
    ids = [segment.narration_id for segment in segments]
    given = {"pretraining": sls_pt, "labels": sls_tl, "data": sls_td}
    levels = combine_levels({target.name: recipe_levels(target, rules) for target in targets}, given)
    views = parse_views(tta) if tta else None
    chosen = device_of(device)
    choice, log_ratio_VM, learned = decide(options, targets, rules, path, root, views, chosen)
    predicted = {target.name: predictions_of(target, segments, root, views, chosen) for target in targets}
    filled: dict[str, list[str]] = {}
    if fill == "prior":
        predicted, filled = fill_prior(predicted, ids, root.path / "annotations", rules.training_list)
    blend = choice.apply(aligned(predicted, ids), log_ratio_VM)
    manifest: dict[str, Any] = {
        "protocol": str(path),
        "filled_with_prior": filled,
        "views": tta or "each recipe's own",
        "members": [member_record(target, tta) | choice.blend.records(names)[target.name] for target in targets],
        "ensemble": choice.as_json(learned),
    }
    write_and_check(name, blend, ids, expected, levels, manifest, rules.challenge)


def segments_of_phase(
    root: "DataRoot", rules: "Protocol", path: Path, count: int | None
) -> "tuple[list[Segment], int]":
    """The test list's segments, and how many there must be.

    Raises:
        SubmissionError: the list has another number.
    """
    from epicsub.data.annotations import read_segments
    from epicsub.errors import SubmissionError

    listed = root.annotations(rules.test.list)
    segments, expected = read_segments(listed), count or rules.test.count
    if len(segments) != expected:
        raise SubmissionError(
            f"{listed}: {len(segments)} segments, but {path} expects {expected}. "
            f"If this is the list of your phase, give --count {len(segments)}"
        )
    return segments, expected


def decide(
    options: "EnsembleOptions",
    targets: "list[Target]",
    rules: "Protocol",
    path: Path,
    root: "DataRoot",
    views: "Views | None",
    device: "torch.device",
) -> "tuple[Choice, np.ndarray | None, dict[str, Any] | None]":
    """How the members are joined, the pairs' log ratios where they are used, and what was learned on; all told."""
    from epicsub.submission.choose import choose
    from epicsub.submission.pairs import read_ratio

    labelled = labelled_members(targets, rules, root, views, device) if options.learns else None
    log_ratio_VM = read_ratio(root.path / "annotations" / rules.training_list) if options.cooccurrence else None
    choice = choose(options, len(targets), labelled, log_ratio_VM)
    learned = learned_on(labelled, rules) if labelled else None
    for line in choice.report([target.name for target in targets]):
        typer.echo(line)
    if learned and not learned["list_is_for_selection"]:
        typer.echo(
            f"chosen by labels of {learned['list']}, which {path} has for reports: say so beside its score there"
        )
    return choice, log_ratio_VM, learned


def write_and_check(
    name: str,
    blend: "Predictions",
    ids: list[str],
    expected: int,
    levels: "Levels",
    manifest: dict[str, Any],
    challenge: str,
) -> None:
    """Write the files, read them again as the organisers would, and say so.

    Raises:
        SubmissionError: a written file is not what it should be.
    """
    from epicsub.errors import SubmissionError
    from epicsub.submission import check_submission, write_submission

    written = write_submission(Path("submissions") / name, blend, ids, expected, levels, manifest, challenge)
    problems = [
        f"{file}: {text}"
        for file in written[:3]
        for text in check_submission(file, ids, expected, challenge=challenge, own=blend).problems
    ]
    if problems:
        raise SubmissionError("\n".join(problems))
    for file in written:
        typer.echo(f"wrote {file}")
    members = counted(len(manifest["members"]), "member", "members")
    typer.echo(f"{len(ids)} segments, {members}; all three files reopened and checked: good")
    typer.echo(f"once it is uploaded: epicsub submissions --uploaded {name}")


def recipe_protocol(targets: "list[Target]") -> Path:
    """The protocol that the first checkpoint's recipe names, else the official one."""
    from epicsub.cli.validate import protocol_of

    return protocol_of(targets) if targets else DEFAULT_PROTOCOL


def recipe_levels(target: "Target", rules: "Protocol") -> dict[str, int] | None:
    """Supervision levels of a checkpoint by its recipe; a file of predictions does not know its own."""
    from epicsub.submission import levels_of_recipe
    from epicsub.training.checkpoint import load_checkpoint

    if target.kind != "checkpoint":
        return None
    recipe = load_checkpoint(target.path).recipe
    derived = levels_of_recipe(recipe, (rules.training_list,), (rules.validation.list, rules.test.list))
    for note in derived.notes:
        typer.echo(f"note: {target.name}: {note}")
    return derived.levels


def member_record(target: "Target", tta: str | None) -> dict[str, Any]:
    """What the manifest keeps of a member."""
    from epicsub.io import sha256
    from epicsub.training.checkpoint import load_checkpoint
    from epicsub.validation import recorded_scores

    record: dict[str, Any] = {"name": target.name, "kind": target.kind, "sha256": sha256(target.path)}
    if target.also:
        record["also"] = {str(path): sha256(path) for path in target.also}
    if target.kind == "checkpoint":
        checkpoint = load_checkpoint(target.path)
        record |= {
            "views": tta or checkpoint.recipe["evaluation"]["views"],
            "step": checkpoint.step,
            "steps": checkpoint.steps,
            "commit": checkpoint.commit,
            "scores": checkpoint.scores,
            "adapted_to": checkpoint.recipe["data"]["target"],
            "validation": recorded_scores(record["sha256"], RECORDS),
        }
    return record
