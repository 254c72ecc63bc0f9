"""The model card: README.md of a published model, made of its recipe and the recorded validation alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from epicsub.constants import __version__
from epicsub.modality import FLOW
from epicsub.training.checkpoint import Checkpoint

DATA = "EPIC-KITCHENS-100"
LICENCE = "cc-by-nc-4.0"  # https://epic-kitchens.github.io: the data, and so what was learned from it
FIGURES = {
    "verb, top-1": "all_verb_accuracy_at_1",
    "noun, top-1": "all_noun_accuracy_at_1",
    "action, top-1": "all_action_accuracy_at_1",
    "verb, top-5": "all_verb_accuracy_at_5",
    "noun, top-5": "all_noun_accuracy_at_5",
    "action, top-5": "all_action_accuracy_at_5",
}
LEVELS = {"pretraining": "sls_pt, pre-training", "labels": "sls_tl, training labels", "data": "sls_td, training data"}


def model_card(
    checkpoint: Checkpoint,
    repository: str,
    records: Sequence[Mapping[str, Any]],
    levels: Mapping[str, int],
    tables: Mapping[str, str],
) -> str:
    """Write the card.

    Args:
        checkpoint: of the run.
        repository: ORG/NAME.
        records: recorded validations of this checkpoint, see `validation.record.recorded_scores`.
        levels: pretraining, labels and data: the organisers' supervision levels.
        tables: digest of each table of class names.

    Returns:
        Markdown with the hub's metadata on top.
    """
    recipe = checkpoint.recipe
    modalities = recipe["data"]["modalities"]
    metadata = {
        "license": LICENCE,
        "library_name": "epicsub",
        "pipeline_tag": "video-classification",
        "tags": ["epicsub", "epic-kitchens", "action-recognition", "egocentric-video", recipe["model"]["name"]],
    }
    parts = [
        f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n",
        f"# {recipe['name']}\n\n{recipe['description']}: {recipe['model']['name']} on {' and '.join(modalities)}, with "
        "97 verbs and 300 nouns. Made and read by epicsub "
        f"{checkpoint.version}. The weights are safetensors; nothing here is a pickle.\n",
        f"## Scores\n\n{_scores(records)}",
        f"## Data and supervision\n\n{_data(recipe, levels)}",
        f"## How to use it\n\n{_use(repository, modalities)}",
        f"## How it was trained\n\n{_training(checkpoint, tables)}",
    ]
    return "\n".join(parts)


def _scores(records: Sequence[Mapping[str, Any]]) -> str:
    if not records:
        return "No validation of this checkpoint is recorded.\n"
    parts = []
    for record in records:
        coverage, scores, intervals = record["coverage"], record["scores"], record["intervals"]
        lines = [
            f"Protocol `{record['protocol']}`, views {record['views'] or 'of the predictions'}, coverage: "
            f"{coverage['segments']} of {coverage['of']} segments. Percent, as the organisers compute it; 95 % "
            "intervals, whole videos resampled.\n",
            "| | score | interval |\n|---|---|---|",
        ]
        for name, key in FIGURES.items():
            if key in scores:
                low, high = intervals.get(key, (math.nan, math.nan))
                between = "" if math.isnan(low) else f"{low:.1f} to {high:.1f}"
                lines.append(f"| {name} | {scores[key]:.2f} | {between} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _data(recipe: Mapping[str, Any], levels: Mapping[str, int]) -> str:
    data = recipe["data"]
    lines = [f"- labelled: {', '.join(data['source']) or 'none'}"]
    if data["target"]:
        lines.append(f"- without labels: {', '.join(data['target'])}")
    lines += [f"- {words}: {levels[name]}" for name, words in LEVELS.items()]
    lines.append(
        f"- licence: if the lists above are those of {DATA}, their annotations and videos are under "
        "[CC BY-NC 4.0](https://creativecommons.org/licenses/by-nc/4.0/), which forbids commercial use, and these "
        "weights are shared under the same terms"
    )
    return "\n".join(lines) + "\n"


def _use(repository: str, modalities: Sequence[str]) -> str:
    flow = ", flow=FLOW_FILE" if FLOW.name in modalities else ""
    return f"""\
```
pip install epicsub=={__version__}
epicsub validate hf://{repository}
epicsub live hf://{repository}
```

```python
import epicsub

model = epicsub.load_model("hf://{repository}")
found = model.predict_clip("video.mp4", 3.2, 4.7{flow})  # seconds
print(found.top("verb"), found.top("noun"))
```
"""


def _training(checkpoint: Checkpoint, tables: Mapping[str, str]) -> str:
    recipe = checkpoint.recipe
    weights = recipe["model"].get("weights")
    chosen = f"chosen by {recipe['train']['select']}"
    named = weights if isinstance(weights, dict) else {"all": weights}
    start = ", ".join(f"{value or 'random'} ({key})" for key, value in named.items())
    lines = [
        f"- recipe: `recipe.yaml`, method {recipe['adaptation']['method']}",
        f"- starting weights: {start}",
        f"- step {checkpoint.step} of {checkpoint.steps}, {chosen}; seed {checkpoint.seed}",
        f"- commit of the source: {checkpoint.commit}",
        *(f"- {name}: sha256 {digest}" for name, digest in checkpoint.lists.items()),
        *(f"- names in {name}: digest {digest}" for name, digest in tables.items()),
    ]
    return "\n".join(lines) + "\n"
