"""Every tiny model on the default small kitchens, and ensembles of them.

    python benchmarks/tiny_models.py --json benchmarks/results/tiny_models.json

Each recipe is trained as it stands, by the command line; a run that is finished is not repeated. "Source" are held-out
segments of training kitchens, "target" the validation list of kitchens that training never saw. Ensembles are plain
means of probabilities, and the members of "best three" are chosen on the source, so that the target's labels choose
nothing.
"""

import subprocess
import sys
from pathlib import Path

from machine import benchmark_parser, write_figures

from epicsub.predictions import Predictions, read_predictions
from epicsub.submission.ensemble import equal_blend
from epicsub.validation import load_protocol
from epicsub.validation.report import evaluate

NAMES = (
    "source_only", "frame_mean", "resnet_bilstm", "frame_transformer", "frame_multiscale", "slowfast", "x3d", "i3d_r50",
    "r2plus1d", "mvit_v2", "video_swin", "timesformer", "videomae",
)  # fmt: skip
PROTOCOLS = {"source": Path("validation/tiny_heldout.yaml"), "target": Path("validation/tiny.yaml")}
SCORES = ("verb", "noun", "action")
Row = dict[str, float]


def main() -> None:
    """Train what is not trained, predict, score, average, print."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--kitchens", type=Path, default=Path("kitchens"))
    parser.add_argument("--out", type=Path, default=Path("outputs/models"))
    arguments = parser.parse_args()
    epicsub("data", "synth", arguments.kitchens)
    epicsub("data", "flow", "--bound", "4", "--data", arguments.kitchens)
    members: dict[str, dict[str, Predictions]] = {}
    rows: dict[str, Row] = {}
    for name in NAMES:
        run = arguments.out / name
        epicsub("train", f"recipes/tiny/{name}.yaml", "--out", run, "--data", arguments.kitchens)
        members[name] = {on: predictions_of(run, on, arguments.kitchens) for on in PROTOCOLS}
        rows[name] = scored(members[name], arguments.kitchens)
    best = sorted(rows, key=lambda name: rows[name]["source action"], reverse=True)[:3]
    rows["mean of all"] = scored(mean_of(members), arguments.kitchens)
    rows["mean of the best three"] = scored(mean_of({name: members[name] for name in best}), arguments.kitchens)
    print(f"\n| top-1 | {' | '.join(rows['source_only'])} |")
    print("|---|" + "---|" * len(rows["source_only"]))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in row.values()) + " |")
    print(f"\nBest three on the source: {', '.join(best)}")
    figures = {f"{name}: {score}": value for name, row in rows.items() for score, value in row.items()}
    write_figures(arguments.json, figures, best=best)


def epicsub(*words: object) -> None:
    """Run one command; stop with it if it fails."""
    print("$ epicsub", *words, flush=True)
    subprocess.run([sys.executable, "-m", "epicsub", *map(str, words)], check=True)


def predictions_of(run: Path, on: str, kitchens: Path) -> Predictions:
    """A run's predictions for the validation list of a protocol, made once."""
    path = run / f"{on}.npz"
    if not path.exists() or path.stat().st_mtime < (run / "last.pth").stat().st_mtime:
        words = ("--split", "validation", "--protocol", PROTOCOLS[on], "--data", kitchens, "-o", path)
        epicsub("predict", run, *words)
    return read_predictions(path)


def mean_of(members: dict[str, dict[str, Predictions]]) -> dict[str, Predictions]:
    """The mean of the members' probabilities, on each list."""
    return {on: equal_blend(len(members)).apply([made[on] for made in members.values()]) for on in PROTOCOLS}


def scored(made: dict[str, Predictions], kitchens: Path) -> Row:
    """Top-1 in percent on both lists."""
    row = {}
    for on, protocol in PROTOCOLS.items():
        scores = evaluate(made[on], load_protocol(protocol), kitchens / "annotations").scores
        row |= {f"{on} {task}": scores[f"all_{task}_accuracy_at_1"] for task in SCORES}
    return row


if __name__ == "__main__":
    main()
