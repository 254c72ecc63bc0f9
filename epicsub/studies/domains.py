"""A table of methods over the pairs of a protocol: which runs it takes, and what they add up to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from epicsub.errors import EpicsubError, ValidationError
from epicsub.io import find_shipped, write_text
from epicsub.recipe import LoadedRecipe, load_recipe
from epicsub.validation import Protocol, load_parts, load_protocol

NO_TARGET = ("source_only",)
BOUND = "supervised"


@dataclass(frozen=True)
class Run:
    """One training run of the table."""

    method: str
    """the recipe's name"""
    pair: str
    """the protocol's part"""
    seed: int
    folder: Path
    recipe: Path
    overrides: tuple[str, ...]
    loaded: LoadedRecipe

    @property
    def result(self) -> Path:
        """Where its scores are kept."""
        return self.folder / "result.json"


def pairs_of(path: Path) -> dict[str, tuple[Path, Protocol]]:
    """Pairs by name, each with the words that name it to `load_protocol`: all parts of a file, or the part named.

    Raises:
        ValidationError: no such protocol, or one that names no list to adapt to.
    """
    if find_shipped("validation", path).is_file():
        named = {str(part or protocol.name): (part, protocol) for part, protocol in load_parts(path).items()}
        found = {
            name: (path if part is None else Path(f"{path}:{part}"), protocol)
            for name, (part, protocol) in named.items()
        }
    else:
        protocol = load_protocol(path)
        found = {protocol.name.rpartition(":")[2]: (path, protocol)}
    bare = [str(words) for words, protocol in found.values() if protocol.target_list is None]
    if bare:
        raise ValidationError(
            "\n".join(f"{words}: has no target_list, the clips that adaptation may see" for words in bare)
        )
    return found


def plan(
    recipes: Sequence[Path], protocol: Path, seeds: Sequence[int], overrides: Sequence[str], out: Path
) -> list[Run]:
    """Every run of the table: recipe by recipe, pair by pair, seed by seed.

    A recipe's own lists give way to the pair's: labels of the source list, clips of the target list; a supervised
    bound has the target list's labels.

    Raises:
        EpicsubError: recipes that cannot be loaded on these lists, or two of one name; all problems at once.
    """
    runs: list[Run] = []
    problems: list[str] = []
    for path in recipes:
        try:
            method = load_recipe(path, list(overrides)).recipe
        except EpicsubError as error:
            problems.append(str(error))
            continue
        for pair, (words, lists) in pairs_of(protocol).items():
            for seed in seeds:
                own = (*lists_of(method.adaptation.method, lists), f"evaluation.protocol={words}", f"seed={seed}")
                try:
                    loaded = load_recipe(path, [*overrides, *own])
                except EpicsubError as error:
                    problems.append(str(error))
                    break
                folder = out / method.name / pair / f"seed_{seed}"
                runs.append(Run(method.name, pair, seed, folder, path, (*overrides, *own), loaded))
    twice = {run.folder for run in runs if sum(other.folder == run.folder for other in runs) > 1}
    problems += [f"{folder}: two recipes of one name, or a seed twice" for folder in sorted(twice)]
    if problems:
        raise ValidationError("\n".join(dict.fromkeys(problems)))
    return runs


def lists_of(method: str, protocol: Protocol) -> list[str]:
    """Overrides that put a pair's lists and classes into a recipe of an adaptation method."""
    source = protocol.target_list if method == BOUND else protocol.training_list
    target = "" if method in (*NO_TARGET, BOUND) else protocol.target_list
    verbs = "null" if protocol.verbs is None else f"[{', '.join(map(str, protocol.verbs))}]"
    return [
        f"data.source=[{source}]",
        f"data.target=[{target}]",
        f"classes.verbs={verbs}",
        f"classes.nouns={'true' if 'noun' in protocol.tasks else 'false'}",
    ]


def finished(run: Run) -> dict[str, Any] | None:
    """What a run that is done has reached, or None.

    Raises:
        ValidationError: it was done with other settings.
    """
    if not run.result.is_file():
        return None
    told: dict[str, Any] = json.loads(run.result.read_text(encoding="utf-8"))
    if told["recipe"] != settings_of(run):
        raise ValidationError(
            f"{run.result}: of a run with other settings than {run.recipe} has now ({run.folder / 'recipe.yaml'} has "
            "them); give another --out, or delete the run's folder"
        )
    return told


def keep(run: Run, scores: Mapping[str, float], mean_of_last: Mapping[str, Any], failed: str | None = None) -> None:
    """Write a run's scores, or why it has none."""
    told = {"scores": scores, "mean_of_last": mean_of_last, "failed": failed, "recipe": settings_of(run)}
    write_text(run.result, json.dumps(told, indent=2) + "\n")


def settings_of(run: Run) -> dict[str, Any]:
    """Settings that a run's scores depend on."""
    settings = run.loaded.recipe.model_dump(mode="json")
    for key in ("root", "workers"):
        settings["data"].pop(key)
    return settings


def figure_of(told: Mapping[str, Any], score: str) -> float | None:
    """A run's figure: the mean of its last evaluations where its recipe asks for it, else that of its checkpoint."""
    if told["failed"]:
        return None
    scores = told["mean_of_last"].get("scores", told["scores"])
    found: float = scores[score]
    return found


def summary(runs: Sequence[Run], told: Sequence[Mapping[str, Any]], score: str) -> dict[str, dict[str, Any]]:
    """Method -> pair (and `mean`, over the pairs) -> figures by seed, their mean, standard deviation, failed seeds.

    The standard deviation is of one seed's figure (n - 1), None for less than two. A seed that failed in some pair
    has no mean over the pairs. No failed run is left out unseen: its seed stands under `failed`.
    """
    made: dict[str, dict[str, Any]] = {}
    for run, one in zip(runs, told, strict=True):
        made.setdefault(run.method, {}).setdefault(run.pair, {})[run.seed] = figure_of(one, score)
    for pairs in made.values():
        seeds = list(next(iter(pairs.values())))
        over = {seed: [figures[seed] for figures in pairs.values()] for seed in seeds}
        pairs["mean"] = {seed: None if None in found else mean(found) for seed, found in over.items()}
    return {method: {pair: _described(figures) for pair, figures in pairs.items()} for method, pairs in made.items()}


def published(protocols: Sequence[Protocol]) -> dict[str, list[float]]:
    """Published figures by method, one for each pair and their mean; methods that some pair lacks are left out."""
    names = [name for name in protocols[0].published if all(name in part.published for part in protocols)]
    rows = {name: [part.published[name] for part in protocols] for name in names}
    return {name: [*row, mean(row)] for name, row in rows.items()}


def _described(by_seed: Mapping[int, float | None]) -> dict[str, Any]:
    found = [figure for figure in by_seed.values() if figure is not None]
    return {
        "mean": mean(found) if found else None,
        "deviation": stdev(found) if len(found) > 1 else None,
        "seeds": {str(seed): figure for seed, figure in by_seed.items()},
        "failed": [seed for seed, figure in by_seed.items() if figure is None],
    }
