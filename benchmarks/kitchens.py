"""Every adaptation method on video of small kitchens, over kitchens and networks of their own seeds.

    python benchmarks/kitchens.py --json benchmarks/results/kitchens.json

Each model is a two-stream I3D of a quarter of the width, trained from random weights on kitchens of its own seed
(`epicsub data synth --seed`: other clips, places and outliers; how a kitchen looks does not change). Its first stage is
trained once, and every arm goes on from its end. Intervals are over models. The arms, what they share and the grid that
every one is tried with are in arms.py; the settings are chosen by the target's labels on tuning models, which no real
project has, and which are not reported.

"Target" is the validation list: kitchens that training sees without labels. A share of its segments shows verbs that no
training segment has. The supervised bound learns from the labels of the test list, which is of the same kitchens.

On two cores this takes days: it goes on where it was stopped, and prints its table when the last run is there. Fewer
`--models` or `--arms` make a smaller table, not a part of this one.
"""

from pathlib import Path

from runner import Benchmark, arguments_of, make_kitchens, measure

KITCHENS = Benchmark(
    name="kitchens",
    sizes={},  # those of `epicsub data synth`
    recipes=("source_only.yaml", "adversarial.yaml"),
    common=("data.workers=0",),
    source_batch=15,
    rate=2e-3,
    rates=(2e-3,),
    models=10,
    repeats=1,
)


def main() -> None:
    """Measure with the command's options."""
    measure(KITCHENS, arguments_of(KITCHENS, __doc__), make_model)


def make_model(model: int, out: Path) -> None:
    """Kitchens of a seed."""
    make_kitchens(KITCHENS, model, out)


if __name__ == "__main__":
    main()
