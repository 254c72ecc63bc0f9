"""A table of methods over the pairs of a protocol: which runs it needs, and their scores together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from epicsub.errors import EpicsubError, ValidationError
from epicsub.io import find_shipped, write_text
from epicsub.recipe import LoadedRecipe, Recipe, load_recipe
from epicsub.validation import Protocol, load_parts, load_protocol

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
    """Pairs of a protocol: all parts of a file, or the part named.

    Args:
        path: `FILE`, `FILE:PART`, or the name of a shipped protocol.

    Returns:
        Pair -> what names it to `load_protocol`, and its protocol.

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

    Args:
        recipes: one per method, by name or path.
        protocol: its pairs of domains.
        seeds: of every method and pair.
        overrides: `KEY=VALUE` for every recipe.
        out: folder of the runs.

    Returns:
        The runs, each in a folder of its own.

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
                own = (*_lists(method, lists), f"evaluation.protocol={words}", f"seed={seed}")
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


def _lists(recipe: Recipe, protocol: Protocol) -> list[str]:
    """Overrides that put a pair's lists and classes into a recipe."""
    source = protocol.target_list if recipe.adaptation.method == BOUND else protocol.training_list
    target = protocol.target_list if recipe.adaptation.reads_target else ""
    verbs = "null" if protocol.verbs is None else f"[{', '.join(map(str, protocol.verbs))}]"
    return [
        f"data.source=[{source}]",
        f"data.target=[{target}]",
        f"classes.verbs={verbs}",
        f"classes.nouns={'true' if 'noun' in protocol.tasks else 'false'}",
    ]


def read_result(run: Run) -> dict[str, Any] | None:
    """Read the scores of a run that has ended.

    Args:
        run: one of the table.

    Returns:
        What `write_result` wrote; None for a run that has not ended.

    Raises:
        ValidationError: the run had other settings.
    """
    if not run.result.is_file():
        return None
    result: dict[str, Any] = json.loads(run.result.read_text(encoding="utf-8"))
    result["recipe"].pop("description", None)
    if result["recipe"] != _settings(run):
        raise ValidationError(
            f"{run.result}: of a run with other settings than {run.recipe} has now ({run.folder / 'recipe.yaml'} has "
            "them); give another --out, or delete the run's folder"
        )
    return result


def write_result(
    run: Run, scores: Mapping[str, float], mean_of_last: Mapping[str, Any], failed: str | None = None
) -> None:
    """Write a run's scores, or why it has none.

    Args:
        run: one of the table.
        scores: of its checkpoint, in percent.
        mean_of_last: mean of its last evaluations, empty where the recipe asks for none.
        failed: why there are no scores.
    """
    result = {"scores": scores, "mean_of_last": mean_of_last, "failed": failed, "recipe": _settings(run)}
    write_text(run.result, json.dumps(result, indent=2) + "\n")


def _settings(run: Run) -> dict[str, Any]:
    """Settings that a run's scores depend on."""
    settings = run.loaded.recipe.model_dump(mode="json")
    settings.pop("description")
    for key in ("root", "workers"):
        settings["data"].pop(key)
    return settings


def _figure(result: Mapping[str, Any], score: str) -> float | None:
    """A run's figure: the mean of its last evaluations where its recipe asks for it, else that of its checkpoint."""
    if result["failed"]:
        return None
    scores = result["mean_of_last"].get("scores", result["scores"])
    found: float = scores[score]
    return found


def summary(runs: Sequence[Run], results: Sequence[Mapping[str, Any]], score: str) -> dict[str, dict[str, Any]]:
    """Summarise the runs of a table.

    The standard deviation is of one seed's figure (n - 1), None for less than two. A seed that failed in some pair
    has no mean over the pairs. No failed run is left out unseen: its seed stands under `failed`.

    Args:
        runs: all of the table.
        results: of each run, as `write_result` wrote it.
        score: which of the scores.

    Returns:
        Method -> pair (and `mean`, over the pairs) -> figures by seed, their mean, standard deviation, failed seeds.
    """
    made: dict[str, dict[str, Any]] = {}
    for run, result in zip(runs, results, strict=True):
        made.setdefault(run.method, {}).setdefault(run.pair, {})[run.seed] = _figure(result, score)
    for pairs in made.values():
        seeds = list(next(iter(pairs.values())))
        over = {seed: [figures[seed] for figures in pairs.values()] for seed in seeds}
        pairs["mean"] = {seed: None if None in found else mean(found) for seed, found in over.items()}
    return {method: {pair: _described(figures) for pair, figures in pairs.items()} for method, pairs in made.items()}


def published(protocols: Sequence[Protocol]) -> dict[str, list[float]]:
    """Published figures of the methods that every pair has.

    Args:
        protocols: one per pair.

    Returns:
        Method -> top-1 in percent of each pair, and their mean.
    """
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
