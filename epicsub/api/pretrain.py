"""Pre-training from a recipe, and its trial before it."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from epicsub.api import data_root
from epicsub.errors import TrainingError
from epicsub.io import user_path, write_text
from epicsub.recipe import LoadedRecipe, load_recipe
from epicsub.training.checkpoint import checkpoint_to_resume
from epicsub.training.loaders import Domains, reading_notes, skipped_ids
from epicsub.training.order_items import hold_out, with_gaps
from epicsub.training.preflight import clip_notes, prepare
from epicsub.training.pretrain import pretrain as run
from epicsub.training.pretrain_trial import dry_run
from epicsub.training.run_folder import run_lock
from epicsub.training.state import total_steps

OUTPUTS = Path("outputs")
log = logging.getLogger(__name__)


def pretrain(
    recipe: str | Path,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    data: str | Path | None = None,
    resume: bool = True,
) -> dict[str, Path]:
    """Pre-train a recipe without labels; a killed run goes on when it is pre-trained again.

    Args:
        recipe: name or path; with a section `pretext`.
        overrides: settings to change, `KEY=VALUE`.
        out: the run's folder; outputs/ and the recipe's name by default.
        data: data root; by default the recipe's, else $EPICSUB_DATA, else data/.
        resume: go on from the folder's last checkpoint, if there is one.

    Returns:
        File of weights of each modality, for `model.weights` of a recipe to train.

    Raises:
        RecipeError: the recipe or an override is not valid.
        TrainingError: the recipe is no pre-training, something that it needs is missing, or the folder holds a run of
            other settings; all at once, before anything starts. Or a loss is not finite (NotFiniteError).
        DataError: a clip cannot be read.
    """
    loaded, folder, domains = _prepare(recipe, overrides, out, data, writes=True)
    with run_lock(folder):
        checkpoint = checkpoint_to_resume(loaded.recipe, domains.lists, folder) if resume else None
        if checkpoint:
            log.info(
                "resuming from step %d of %d (%s)", checkpoint.step, total_steps(loaded.recipe), folder / "last.pth"
            )
        write_text(folder / "recipe.yaml", loaded.to_yaml())
        files = run(loaded.recipe, domains, folder, checkpoint)
    return dict(zip(loaded.recipe.data.modalities, files, strict=True))


def try_pretraining(
    recipe: str | Path,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    data: str | Path | None = None,
) -> Iterator[str]:
    """Estimate a pre-training without starting it; nothing is written.

    Args:
        recipe: as `pretrain`, like all that follow.
        overrides: settings to change.
        out: the run's folder, which only must be writable.
        data: data root.

    Returns:
        Lines, each as soon as it is known.

    Raises:
        TrainingError: as of `pretrain`.
    """
    loaded, _, domains = _prepare(recipe, overrides, out, data, writes=False)
    return dry_run(loaded.recipe, domains)


def weights_line(recipe: str | Path, files: dict[str, Path]) -> str:
    """Write the line of a recipe that begins with pre-trained weights.

    Args:
        recipe: the pre-training's.
        files: of `pretrain`.

    Returns:
        `model.weights: ...`, as YAML.
    """
    if hasattr(load_recipe(recipe).recipe.model, "backbone"):
        return f"model.weights: {next(iter(files.values()))}"
    return f"model.weights: {{{', '.join(f'{name}: {path}' for name, path in files.items())}}}"


def _prepare(
    recipe: str | Path, overrides: Sequence[str], out: str | Path | None, data: str | Path | None, writes: bool
) -> tuple[LoadedRecipe, Path, Domains]:
    """Check everything at once; return recipe, folder of the run, and its segments."""
    loaded = load_recipe(recipe, overrides)
    if loaded.recipe.pretext is None:
        raise TrainingError(
            f"{loaded.path}: has no section pretext, so there is nothing to pre-train by; `epicsub train` trains it, "
            "and `epicsub pretrain order_i3d` is a pre-training"
        )
    folder = user_path(out) if out is not None else OUTPUTS / loaded.recipe.name
    domains = prepare(loaded, data_root(data, loaded.recipe.data.root), folder, writes)
    for note in _notes(loaded, domains):
        log.info(note)
    return loaded, folder, domains


def _notes(loaded: LoadedRecipe, domains: Domains) -> Iterator[str]:
    recipe = loaded.recipe
    assert recipe.pretext is not None
    held = hold_out(domains.target, recipe.pretext.held_out)
    counts = ", ".join(map(str, map(len, held.train)))
    yield (
        f"{recipe.name}: {counts} unlabelled segments of {', '.join((*recipe.data.source, *recipe.data.target))}; "
        f"{len(held.items)} of {len(held.videos)} videos are held out for {recipe.pretext.items} fixed items"
    )
    yield from reading_notes(with_gaps(recipe), domains.root, domains.target_segments, domains.store)
    if recipe.data.skip:
        yield f"{len(skipped_ids(recipe))} segments are named in {recipe.data.skip} and left out"
    yield from clip_notes(recipe)
