"""The runs of a table of methods over the pairs of a protocol, and the file of each one's scores."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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
    loaded: LoadedRecipe
    overrides: tuple[str, ...]

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
                runs.append(Run(method.name, pair, seed, folder, path, loaded, (*overrides, *own)))
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
) -> dict[str, Any]:
    """Write a run's scores, or why it has none.

    Args:
        run: one of the table.
        scores: of its checkpoint, in percent.
        mean_of_last: mean of its last evaluations, empty where the recipe asks for none.
        failed: why there are no scores.

    Returns:
        What `read_result` reads.
    """
    result = {"scores": scores, "mean_of_last": mean_of_last, "failed": failed, "recipe": _settings(run)}
    write_text(run.result, json.dumps(result, indent=2) + "\n")
    return result


def _settings(run: Run) -> dict[str, Any]:
    """Settings that a run's scores depend on."""
    settings = run.loaded.recipe.model_dump(mode="json")
    settings.pop("description")
    for key in ("root", "workers"):
        settings["data"].pop(key)
    return settings
