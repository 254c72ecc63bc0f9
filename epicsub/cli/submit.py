"""epicsub submit: members become one checked upload."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from epicsub.api import submit as api
from epicsub.cli.options import CountOption, DataOption, DeviceOption, ProtocolOption, RuleOption, TtaOption
from epicsub.errors import SubmissionError
from epicsub.text import counted

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
    name: Annotated[str, typer.Option(help="Folder under submissions/, or the path of another.")] = "submission",
    fill: Annotated[
        Literal["none", "prior"], typer.Option(help="prior: class frequencies for missing segments.")
    ] = "none",
    fill_count: Annotated[
        int | None, typer.Option(min=0, help="Segments that it may fill per member. Default: half of the list.")
    ] = None,
    sls_pt: LevelOption = None,
    sls_tl: LevelOption = None,
    sls_td: LevelOption = None,
    protocol: ProtocolOption = None,
    count: CountOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Write submission.pt, submission.zip, submission_json.zip and the manifest, and check them."""
    if len(members) > 1 and not ensemble:
        raise SubmissionError(f"{len(members)} members given: add --ensemble to average them")
    joined = api.ensemble(
        members,
        rule=rule,
        weights=weights,
        temperature=temperature,
        cooccurrence=cooccurrence,
        tta=tta,
        fill=fill,
        fill_count=fill_count,
        levels={"pretraining": sls_pt, "labels": sls_tl, "data": sls_td},
        protocol=protocol,
        data=data,
        count=count,
        device=device,
    )
    for note in joined.notes:
        typer.echo(note)
    written = api.write_submission(joined, name)
    for file in written:
        typer.echo(f"wrote {file}")
    count_of = counted(len(joined.manifest["members"]), "member", "members")
    typer.echo(f"{len(joined)} segments, {count_of}; all three files reopened and checked: good")
    place = f"--folder {shlex.quote(str(written.pt.parent.parent))} " if Path(name).name != name else ""
    typer.echo(f"once it is uploaded: epicsub submissions {place}--uploaded {shlex.quote(written.pt.parent.name)}")
