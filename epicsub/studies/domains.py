"""A table of methods over the pairs of a protocol: its runs trained and scored, and their figures."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from epicsub.api import data_root, device_of
from epicsub.api.train import train
from epicsub.errors import EpicsubError, NotFiniteError, TrainingError
from epicsub.inference.targets import predictions_of, resolve_target
from epicsub.io import user_path
from epicsub.io.shards import Shard, missing_shards, refuse_missing
from epicsub.studies.domain_runs import Run, pairs_of, plan, read_result, write_result
from epicsub.training.loaders import skipped_ids
from epicsub.training.preflight import prepare
from epicsub.validation import Protocol, evaluate, load_protocol

OUTPUTS = Path("outputs/domains")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DomainTable:
    """Scores of methods over the pairs of a protocol."""

    protocol: Path
    score: str
    pairs: list[str]
    methods: dict[str, dict[str, Any]]
    """method -> pair, and `mean` over the pairs -> figures by seed, their mean, standard deviation, failed seeds"""
    published: dict[str, list[float]]
    """method -> top-1 in percent of each pair, and their mean, as others report them"""
    published_remark: str | None

    def to_json(self) -> dict[str, Any]:
        """The table as plain numbers.

        Returns:
            protocol, score, methods and published.
        """
        rows = {"methods": self.methods, "published": self.published}
        return {"protocol": str(self.protocol), "score": self.score, **rows}


def run_domains(
    recipes: Sequence[str | Path],
    protocol: str | Path,
    seeds: Sequence[int] = (1,),
    overrides: Sequence[str] = (),
    *,
    out: str | Path = OUTPUTS,
    score: str | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    shard: Shard | None = None,
    merge: int | None = None,
) -> DomainTable | None:
    """Train every method on every pair and seed, and score it; runs that have ended are not repeated.

    Args:
        recipes: one per method, by name or path.
        protocol: pairs of domains: a file with parts, or one part of it.
        seeds: of every method and pair.
        overrides: `KEY=VALUE` for every recipe.
        out: folder of the runs.
        score: which of the organisers' scores. Default: top-1 of actions, or of verbs where the lists have no nouns.
        data: the data root. Default: that of each recipe, $EPICSUB_DATA, else `data/`.
        device: auto, cpu, cuda or mps, for the predictions.
        shard: train this share of the runs alone.
        merge: train nothing, and check that so many shares are done.

    Returns:
        The scores of each method, pair and seed, and their summary; None of a share.

    Raises:
        EpicsubError: something that a run needs is missing; all at once, before anything starts. A loss that is not
            finite ends its own run alone, which counts as failed.
    """
    device_of(device)
    protocol, out = Path(protocol), user_path(out)
    parts = {pair: lists for pair, (_, lists) in pairs_of(protocol).items()}
    first = next(iter(parts.values()))
    chosen = score or f"all_{'action' if 'action' in first.tasks else first.tasks[0]}_accuracy_at_1"
    runs = plan([Path(recipe) for recipe in recipes], protocol, seeds, overrides, out)
    every = [run.folder for run in runs]
    if shard is not None:
        runs = shard.share(runs)
    ended = [read_result(run) for run in runs]
    if merge is not None:
        undone = [run.folder for run, result in zip(runs, ended, strict=True) if result is None]
        refuse_missing(missing_shards(every, undone, merge), merge, str(out))
    log.info("%d runs, %d of them done (%s)", len(runs), sum(result is not None for result in ended), out)
    _check_all([run for run, result in zip(runs, ended, strict=True) if result is None], data)
    results = [result or _train_one(run, data, device) for run, result in zip(runs, ended, strict=True)]
    if shard is not None:
        return None
    return DomainTable(
        protocol,
        chosen,
        list(parts),
        summary(runs, results, chosen),
        published(list(parts.values())),
        first.published_remark,
    )


def _check_all(runs: Sequence[Run], data: str | Path | None) -> None:
    """Refuse, before anything slow, what any of the runs would refuse."""
    problems = []
    for run in runs:
        try:
            prepare(run.loaded, data_root(data, run.loaded.recipe.data.root), run.folder)
        except EpicsubError as error:
            problems.append(str(error))
    if problems:
        raise TrainingError("\n".join(dict.fromkeys(problems)))


def _train_one(run: Run, data: str | Path | None, device: str) -> dict[str, Any]:
    """Train a run or resume it, score it, and write its result. One whose loss is not finite counts as failed."""
    recipe = run.loaded.recipe
    root = data_root(data, recipe.data.root)
    log.info("%s %s seed %d", run.method, run.pair, run.seed)
    try:
        train(run.recipe, run.overrides, out=run.folder, data=data)
    except NotFiniteError as error:
        log.info("failed: %s", error)
        return write_result(run, {}, {}, str(error))
    protocol, skipped = load_protocol(Path(recipe.evaluation.protocol)), skipped_ids(recipe)
    target = resolve_target(str(run.folder))
    segments = [s for s in root.segments(protocol.validation.list) if s.narration_id not in skipped]
    predicted = predictions_of(target, segments, root, None, device_of(device))
    scores = evaluate(predicted, protocol, root.path / "annotations").scores
    return write_result(run, scores, target.checkpoint.mean_of_last if target.checkpoint else {})


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
        results: of each run, as `read_result` returns it.
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
