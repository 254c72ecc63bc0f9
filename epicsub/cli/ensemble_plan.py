"""epicsub ensemble plan: which members are worth their cost."""

from typing import Annotated

import typer

from epicsub.api import plan as api
from epicsub.cli.options import DataOption, DeviceOption, JsonOption, ProtocolOption, RuleOption, TtaOption, write_json

MEMBERS = typer.Argument(help="Checkpoints, runs, or files of predictions (VALIDATION.npz,TEST.npz for two lists).")


def plan(
    members: Annotated[list[str], MEMBERS],
    rule: RuleOption = "mean",
    tta: TtaOption = None,
    json_file: JsonOption = None,
    protocol: ProtocolOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Rank members by what each adds to those before it, cross-validated over kitchens."""
    found = api.plan(members, rule=rule, tta=tta, protocol=protocol, data=data, device=device)
    typer.echo(f"{found.segments} segments of {found.protocol.validation.list}, {found.folds} folds of whole kitchens")
    wide = max(24, *(len(place.name) + 2 for place in found.places))
    typer.echo(
        f"{'':3}{'member':{wide}}{'verb':>18}{'noun':>18}{'action':>18}{'adds':>20}  in words, and folds that agree"
    )
    for number, place in enumerate(found.places, start=1):
        alone = "".join(f"{place.alone[figure]!s:>18}" for figure in ("verb@1", "noun@1", "action@1"))
        word = place.verdict if number > 1 else "first"
        typer.echo(f"{number:<3}{place.name:{wide}}{alone}{place.adds!s:>20}  {word}, {place.agreed} of {found.folds}")
    for line in found.choice.report(found.names):
        typer.echo(line)
    if json_file:
        write_json(json_file, found.to_json())
