"""epicsub adopt: a checkpoint of the group's first model becomes a run of ours."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.modality import RGB


def adopt(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth of ActionModel (ResNet-50 and a bidirectional LSTM).")],
    recipe: Annotated[
        Path, typer.Argument(help="The recipe that says how its clips are cut, e.g. recipes/resnet_bilstm.yaml.")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder. Default: outputs/ and the recipe's name.")] = None,
) -> None:
    """Take over a checkpoint of the group's first model, so that validate, predict and submit read it."""
    from epicsub.errors import ModelError
    from epicsub.io import write_text
    from epicsub.models.weights import load_action_model
    from epicsub.recipe import load_recipe
    from epicsub.training.build import model_of
    from epicsub.training.checkpoint import Checkpoint, save_checkpoint
    from epicsub.training.state import total_steps

    loaded = load_recipe(recipe, overrides or [])
    folder = out or Path("outputs") / loaded.recipe.name
    if (folder / "last.pth").exists():
        raise ModelError(f"{folder}: holds a run already; choose another folder with --out")
    if loaded.recipe.model.name != "frame_lstm" or loaded.recipe.data.modalities != (RGB.name,):
        raise ModelError(f"{loaded.where('model.name')}  model.name: ActionModel is a frame_lstm of rgb alone")
    model = model_of(loaded.recipe, weights=False)
    load_action_model(model, checkpoint)
    steps = total_steps(loaded.recipe)
    kept = Checkpoint(
        recipe=loaded.recipe.model_dump(mode="json") | {"description": f"taken over from {checkpoint.name}"},
        seed=loaded.recipe.seed,
        step=steps,
        steps=steps,
        lists={},
        scores={},
        model=model.state_dict(),
        commit=f"taken over from {checkpoint.name}",
    )
    for name in ("last.pth", "best.pth"):
        save_checkpoint(folder / name, kept)
    write_text(folder / "recipe.yaml", loaded.to_yaml())
    typer.echo(f"wrote {folder}/last.pth; try `epicsub validate {folder}`")
