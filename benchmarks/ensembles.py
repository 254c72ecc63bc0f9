"""Three tiny models alone and together, views against their cost, and what re-ranking by training's pairs can give.

    python benchmarks/ensembles.py --json benchmarks/results/ensembles.json

Every step goes through the command line: training (runs that are finished are not repeated), `ensemble plan`, `ensemble
views`, and `submit` twice, the second time from kept predictions. The pairs are drawn from a known co-occurrence, once
with none at all; each head alone is as good as Bayes' rule makes it.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from machine import benchmark_parser, write_figures

from epicsub.api.plan import labelled_members
from epicsub.data.root import DataRoot
from epicsub.inference.targets import resolve_targets
from epicsub.predictions import Predictions
from epicsub.submission.ensemble import Rule, floored, logsumexp
from epicsub.submission.learn import How, learn
from epicsub.submission.pairs import STRENGTHS, choose_strength, log_ratio, rerank
from epicsub.submission.search import Labelled
from epicsub.validation import load_protocol
from epicsub.validation.scores import hits_of

RECIPES = ("mmir_i3d", "source_only", "resnet_bilstm")
VIEWS = ("1x1", "3x1", "5x1", "3x1@0.8,1,1.25")
CO_OCCURRENCES = (0.0, 0.5, 1.5, 3.0)
CHOICES: tuple[tuple[Rule, How, bool], ...] = (
    ("mean", "equal", False),
    ("mean", "equal", True),
    ("mean", "greedy", False),
    ("mean", "likelihood", False),
    ("mean", "likelihood", True),
    ("mean", "search", False),
    ("logits", "equal", False),
    ("logits", "greedy", False),
    ("logits", "likelihood", True),
    ("rank", "equal", False),
    ("rank", "greedy", False),
)
COLUMNS = (("verb", 1), ("noun", 1), ("action", 1), ("action", 5))


def main() -> None:
    """Train what is missing, measure, print the tables."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--kitchens", type=Path, default=Path("kitchens"))
    arguments = parser.parse_args()
    data = ["--data", str(arguments.kitchens)]
    for recipe in RECIPES:
        if not Path(f"outputs/tiny_{recipe}").is_dir():
            epicsub("train", f"recipes/tiny/{recipe}.yaml", *data)
    runs = [f"tiny_{recipe}" for recipe in RECIPES]
    made = Path("outputs/ensembles.json")
    seconds = {}
    for name in ("first", "again"):
        began = time.monotonic()
        epicsub("ensemble", "plan", *runs, "--json", str(made), *data)
        seconds[f"plan_{name}_s"] = time.monotonic() - began
    plan = json.loads(made.read_text())
    epicsub(
        "ensemble",
        "views",
        runs[0],
        *(w for v in VIEWS for w in ("--tta", v)),
        "--stop",
        "1",
        "--json",
        str(made),
        *data,
    )
    views = json.loads(made.read_text())["rows"]
    searched = [
        "submit",
        "--ensemble",
        *runs,
        "--weights",
        "search",
        "--cooccurrence",
        "auto",
        "--name",
        "ensembles",
        *data,
    ]
    for name in ("first", "again"):
        began = time.monotonic()
        epicsub(*searched)
        seconds[f"submit_{name}_s"] = time.monotonic() - began
    choices = choices_table(runs, arguments.kitchens)
    pairs = {f"co-occurrence {strength}": pairs_table(strength) for strength in CO_OCCURRENCES}
    figures = dict(seconds)
    for place in plan["places"]:
        figures[f"{place['member']}_action"] = place["alone"]["action@1"]["value"]
    for name, row in plan["ensemble"]["cross_validated"].items():
        if name != "folds":
            figures[f"ensemble_{name}_action"] = row["action@1"]["value"]
    write_figures(arguments.json, figures, plan=plan, choices=choices, views=views, pairs=pairs)


def epicsub(*words: str) -> None:
    """Run one command; stop with it if it fails."""
    print("$ epicsub", *words, flush=True)
    subprocess.run([sys.executable, "-m", "epicsub", *words], check=True)


def choices_table(runs: list[str], kitchens: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Every rule with every search, cross-validated over kitchens, from kept predictions."""
    root, protocol = DataRoot(kitchens), load_protocol(Path("validation/tiny.yaml"))
    labelled = labelled_members(resolve_targets(runs), protocol, root, None, torch.device("cpu"))
    table = {}
    print(f"{'':32}" + "".join(f"{task} top-{k}".rjust(22) for task, k in COLUMNS))
    for rule, how, temperature in CHOICES:
        made = learn(labelled, rule, how, temperature)
        name = f"{rule}, {how}{', temperatures' if temperature else ''}"
        table[name] = {figure: value.as_json() for figure, value in made.chosen.items()}
        table[name]["action@1 less equal"] = made.gain["action@1"].as_json()
        print(f"{name:32}" + "".join(f"{value!s:>22}" for value in made.chosen.values()))
    return table


def pairs_table(strength: float) -> dict[str, dict[str, float]]:
    """Accuracies without pairs, with the marginals of the joint, and with its best pair raised to the top as well."""
    labelled, member, ratio = synthetic_pairs(strength)
    chosen = choose_strength(labelled, member, ratio)
    weight = chosen.best * ratio
    verb, noun = member.verb_logprobs.astype(float), member.noun_logprobs.astype(float)
    marginals = [verb + np.log(np.exp(noun) @ np.exp(weight).T), noun + np.log(np.exp(verb) @ np.exp(weight))]
    ids = member.narration_ids
    kinds = {
        "none": member,
        "marginals": Predictions(ids, *(floored(table - logsumexp(table)) for table in marginals)),
        "marginals, best pair first": rerank(member, ratio, chosen.best),
    }
    table = {}
    print(f"co-occurrence {strength}: best strength {chosen.best} of {STRENGTHS}, used {chosen.value}, gain "
          f"{chosen.gain['action@1']}")  # fmt: skip
    for name, predictions in kinds.items():
        hits = hits_of(predictions, labelled.labels)
        table[name] = {f"{task}@{k}": float(100 * hits[task, k].mean()) for task, k in COLUMNS}
        print(f"  {name:28}" + "".join(f"{figure} {value:5.1f}   " for figure, value in table[name].items()))
    return table | {"chosen": {"strength": chosen.value, "best": chosen.best}}


def synthetic_pairs(
    co_occurrence: float, train: int = 20000, segments: int = 3000
) -> tuple[Labelled, Predictions, np.ndarray]:
    """Synthetic segments of 97 verbs and 300 nouns, how a model that sees each head alone predicts them, the ratio."""
    rng = np.random.default_rng(0)
    plain = rng.dirichlet(np.full(97, 0.3))[:, None] * rng.dirichlet(np.full(300, 0.3))
    chance = plain * np.exp(co_occurrence * rng.normal(size=plain.shape))
    chance /= chance.sum()
    of_training, of_segments = (np.divmod(rng.choice(chance.size, n, p=chance.ravel()), 300) for n in (train, segments))
    ids = [f"P{row % 30:02d}_01_{row}" for row in range(segments)]
    scores = []
    for truth, axis in zip(of_segments, (1, 0), strict=True):
        prior = chance.sum(axis=axis)
        seen = rng.normal(size=(segments, len(prior)))
        seen[np.arange(segments), truth] += 2.4
        scores.append(2.4 * seen + np.log(prior + 1e-12))
    kitchens = [name[:3] for name in ids]
    labels = pd.DataFrame({"participant_id": kitchens, "verb_class": of_segments[0], "noun_class": of_segments[1]}, ids)
    member = Predictions.from_scores(ids, *scores)
    return Labelled([member], labels), member, log_ratio(*of_training)


if __name__ == "__main__":
    main()
