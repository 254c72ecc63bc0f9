"""Every adaptation method on features of small kitchens, over separately trained source models.

    python benchmarks/features.py --json benchmarks/results/features.json

Each model has kitchens of its own seed (`epicsub data synth --seed`: other clips, places and outliers; how a kitchen
looks does not change) and is trained on them by `recipes/tiny/source_only.yaml` at an eighth of the width, with about
half of its frames and half of its steps. The features of three views per segment that it makes are what every arm
reads, TA3N as three frames, the others as their mean; heads and bottleneck are what an arm trains. Runs of a model
share its features, so intervals are over models. The arms, what they share and the grid that every one is tried with
are in arms.py; the settings are chosen by the target's labels on tuning models, which no real project has, and which
are not reported.

"Target" is the validation list: kitchens that training sees without labels. A fifth of its segments shows verbs that no
training segment has. The supervised bound learns from the labels of the test list, which is of the same kitchens.
"""

from pathlib import Path

from runner import LISTS, TINY, Benchmark, arguments_of, epicsub, make_kitchens, measure

SHORTER = (  # the source models, of which there are many
    "model.width=0.125",
    "data.frames=9",
    "data.stride=0.06",
    "train.stages.0.steps=100",
    "train.stages.1.steps=50",
)
FEATURES = Benchmark(
    name="features",
    sizes={"train": 150, "heldout": 20, "validation": 100, "test": 50},
    recipes=("features_source_only.yaml", "features_adversarial.yaml"),
    common=("model.dims={rgb: 128, flow: 128}",),
    source_batch=40,
    rate=1e-3,
    rates=(1e-3,),
    models=10,
    repeats=1,
    steps=120,
    relations="dims: {rgb: 128, flow: 128}, segments: 3, shared: 64, hidden: 64",
)


def main() -> None:
    """Measure with the command's options."""
    measure(FEATURES, arguments_of(FEATURES, __doc__), make_model)


def make_model(model: int, out: Path) -> None:
    """Kitchens of a seed, the source model that is trained on them, and its features."""
    kitchens, run = make_kitchens(FEATURES, model, out), out / "models" / str(model)
    words = (f"seed={model}", *SHORTER, "data.workers=0", "--out", str(run), "--data", str(kitchens))
    if not (run / "features.done").is_file():
        epicsub("train", str(TINY / "source_only.yaml"), *words)
        lists = [word for name in LISTS for word in ("--list", name)]
        place = str(kitchens / "features" / "source_only")
        epicsub("data", "features", str(run), "-o", place, *lists, "--tta", "3x1", "--data", str(kitchens))
        (run / "features.done").touch()


if __name__ == "__main__":
    main()
