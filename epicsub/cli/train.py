"""epicsub train: a recipe becomes a run."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epicsub.cli.options import DataOption, data_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epicsub.data.root import DataRoot
    from epicsub.recipe import LoadedRecipe, Recipe
    from epicsub.training.loaders import Domains
    from epicsub.training.loop import Evaluate


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, e.g. recipes/mmir_i3d.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder. Default: outputs/ and the recipe's name.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on where a killed run of the same settings stopped.")] = True,
    data: DataOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what the run takes, after a few steps; no file.")
    ] = False,
    find_lr: Annotated[bool, typer.Option("--find-lr", help="Try learning rates from low to high; no file.")] = False,
    find_batch: Annotated[bool, typer.Option("--find-batch", help="Try larger and larger batches; no file.")] = False,
) -> None:
    """Train a recipe; a killed run goes on when run again."""
    from epicsub.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    root = data_root(data, loaded.recipe.data.root)
    folder = out or Path("outputs") / loaded.recipe.name

    from epicsub.io import write_text
    from epicsub.training.lock import run_lock
    from epicsub.training.loop import fit
    from epicsub.training.preflight import prepare, resumable
    from epicsub.training.state import total_steps

    trials = [name for name, wanted in (("dry_run", dry_run), ("rate", find_lr), ("batch", find_batch)) if wanted]
    domains = prepare(loaded, root, folder, writes=not trials)
    evaluate = evaluator(loaded, domains)
    for line in notes_before(loaded.recipe, root, domains):
        say(line)
    if trials:
        try_out(trials, loaded.recipe, domains)
        return
    with run_lock(folder):
        checkpoint = resumable(loaded.recipe, domains, folder) if resume else None
        if checkpoint:
            say(f"going on at step {checkpoint.step} of {total_steps(loaded.recipe)} ({folder / 'last.pth'})")
        write_text(folder / "recipe.yaml", loaded.to_yaml())
        say(f"wrote {fit(loaded.recipe, domains, folder, evaluate, checkpoint)}")


def notes_before(recipe: "Recipe", root: "DataRoot", domains: "Domains") -> "Iterator[str]":
    """What is told before the first step: how many segments there are, and what a reader of the scores should know."""
    from epicsub.inference.targets import upper_bound_note
    from epicsub.training.loaders import reading_notes, skipped_ids
    from epicsub.training.preflight import clip_notes
    from epicsub.training.schedule import scaled_rate_notes

    targets = ", ".join(map(str, map(len, domains.target))) or "no"
    yield f"{recipe.name}: {len(domains.source)} labelled source segments, {targets} unlabelled target segments"
    yield from reading_notes(
        recipe, root, [*domains.source, *(s for part in domains.target for s in part)], domains.store
    )
    if recipe.adaptation.method == "supervised":
        yield upper_bound_note(recipe.data.source)
    if recipe.data.skip:
        yield f"{len(skipped_ids(recipe))} segments are named in {recipe.data.skip} and left out"
    yield from clip_notes(recipe)
    yield from scaled_rate_notes(recipe)


def try_out(trials: list[str], recipe: "Recipe", domains: "Domains") -> None:
    """Print what each trial finds, in place of training."""
    from epicsub.training import dry_run as dry
    from epicsub.training import find

    makers = {"dry_run": dry.dry_run, "rate": find.find_rate, "batch": find.find_batch}
    for name in trials:
        for line in makers[name](recipe, domains):
            say(line)


def say(text: str) -> None:
    """Print once, not in every process of a run over several devices."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        typer.echo(text)


def evaluator(loaded: "LoadedRecipe", domains: "Domains") -> "Evaluate | None":
    """Periodic validation: the same code as `epicsub validate`. Several processes share the list among them."""
    recipe = loaded.recipe
    if recipe.train.evaluate_every is None and recipe.train.mean_of_last is None:
        return None

    import torch
    from torch import nn

    from epicsub.data.sampling import parse_views
    from epicsub.inference.predict import gather_predictions, predict
    from epicsub.training.loaders import skipped_ids, store_of, view_loader
    from epicsub.training.lock import process_number
    from epicsub.training.selection import EvaluationResult
    from epicsub.validation import Reference, load_protocol, read_reference

    protocol = load_protocol(Path(recipe.evaluation.protocol))
    skipped = skipped_ids(recipe)
    root = domains.root
    segments = [s for s in root.segments(protocol.validation.list) if s.narration_id not in skipped]
    store = store_of(recipe, root, segments, domains.store.indexes)
    ids, ranks = [segment.narration_id for segment in segments], recipe.train.devices
    rank = process_number() if ranks > 1 else 0
    loader = view_loader(recipe, root, segments, parse_views(recipe.evaluation.views), store, rank=rank, ranks=ranks)

    select = recipe.train.select
    tables: list[Reference] = []  # read when first needed, then kept

    def scores_of(model: nn.Module) -> EvaluationResult:
        device = next(model.parameters()).device
        own = predict(model, loader, len(loader), device, "validation") if len(loader) else None
        predictions = gather_predictions(own, ids)
        if not tables:
            tables.append(read_reference(protocol, root.path / "annotations"))
        (reference,) = tables
        hits_S = None if select == "last" else torch.from_numpy(reference.counted_hits(predictions, select))
        return EvaluationResult(scores=reference.evaluate(predictions).scores, hits_S=hits_S)

    return scores_of
