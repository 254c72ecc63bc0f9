"""The table of commands. Each is a function in the file of its name."""

import typer

from epicsub import __version__
from epicsub.cli import (
    adopt,
    bench,
    check,
    data,
    demo,
    doctor,
    ensemble,
    predict,
    recipes,
    submissions,
    submit,
    train,
    validate,
)

app = typer.Typer(
    name="epicsub",
    help="From kitchen videos to a valid EPIC-KITCHENS-100 action recognition submission.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def show_version(asked: bool) -> None:
    """Print the version and leave."""
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(version: bool = typer.Option(False, "--version", callback=show_version, is_eager=True)) -> None:
    """Recipes train, `validate` scores as the organisers do, `submit` writes the upload."""


app.command("train")(train.train)
app.command("adopt")(adopt.adopt)
app.command("validate")(validate.validate)
app.command("predict")(predict.predict)
app.command("submit")(submit.submit)
app.add_typer(ensemble.app, name="ensemble")
app.command("check")(check.check)
app.command("submissions")(submissions.submissions)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.command("recipes")(recipes.recipes)
app.command("show")(recipes.show)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
