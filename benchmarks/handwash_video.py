"""Hand-washing at two sinks end to end: two-stream I3D on video, RGB from Kinetics-400 weights.

    python benchmarks/handwash_video.py --videos ../shared/data/handwash --json benchmarks/results/handwash_video.json

The arms of arms.py that the paper compares, at the settings of their papers, three seeds. Those of a seed start from
one shared first stage. Scores and intervals are those of handwash.py: over the two target videos. A run goes on from
its last checkpoint, and what is finished is reported, so that this computes for days beside other work; --steps makes
both stages longer, --size and --batch larger (224 and 40 are the paper's). `power` is what agents learn from a
perfect reward within the same steps.
"""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from arms import CONTROL, settings
from gains import figures_of, row
from handwash_arms import ARMS, NO_TARGET, POWER, marked_ids, own_of, scores
from handwash_data import HALVES, make_root
from machine import benchmark_parser, write_figures
from power import perfect_rewards, power_of_run

from epicsub.api.train import train
from epicsub.data.flow import FlowSettings
from epicsub.data.flow.compute import flow_for_videos
from epicsub.data.root import DataRoot
from epicsub.data.sampling import parse_views
from epicsub.inference.targets import Target
from epicsub.io import write_text
from epicsub.training.checkpoint import load_checkpoint

RECIPE = Path("benchmarks/handwash/video.yaml")
SMALL = [  # as little as runs at all
    "supervision.pretraining=0", "model.weights={rgb: null, flow: null}", "model.width=0.0625", "model.dropout=0.0",
    "data.frames=9", "data.short_side=36", "data.size=32",
]  # fmt: skip
FLOW_BOUND = 16.0  # pixels per frame at 30 frames a second: 8 at 60
COMPARED = (CONTROL, "source_only", "adabn", "adversarial", "mmir", "mmir_plus", "mm_sada", f"mmir_{POWER}")


class Run(NamedTuple):
    """One run."""

    arm: str
    seed: int
    out: Path
    steps: int
    batch: int
    common: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.out / f"{self.arm}_{self.seed}"

    @property
    def kept_in(self) -> Path:
        """Where its scores are."""
        return self.folder / "scores.json"


def main() -> None:
    """Train and score what is missing, seed by seed; print the table of what is finished."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--videos", type=Path, default=Path("../shared/data/handwash"))
    parser.add_argument("--out", type=Path, default=Path("outputs/handwash"))
    parser.add_argument("--seeds", type=int, default=3, help="0 to SEEDS - 1")
    parser.add_argument("--steps", type=int, default=60, help="of each stage")
    parser.add_argument("--size", type=int, default=112, help="pixels of a clip's side")
    parser.add_argument("--batch", type=int, default=10, help="clips of each domain in a step")
    parser.add_argument(
        "--small", action="store_true", help="the same way with tiny networks, whose scores say nothing"
    )
    parser.add_argument("--arms", nargs="+", default=list(COMPARED), choices=list(COMPARED), metavar="ARM")
    parser.add_argument("--report", action="store_true", help="train nothing, report what is finished")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root = make_root(arguments.videos, arguments.out / "root")
    steps, size, batch = arguments.steps, arguments.size, arguments.batch
    common = [f"data.size={size}", f"data.short_side={size * 8 // 7}"]
    common += [f"train.stages.{stage}.{key}" for stage in (0, 1) for key in (f"steps={steps}", f"source_batch={batch}")]
    common += ["train.precision=bf16-mixed", "data.workers=null"] if torch.cuda.is_available() else []
    out = arguments.out / "_".join(["video", *(str(one) for one in (steps, size, batch)), *["small"] * arguments.small])
    common = common[2:] + SMALL if arguments.small else common
    arms = dict.fromkeys([CONTROL, *arguments.arms])
    runs = [Run(arm, seed, out, steps, batch, tuple(common)) for seed in range(arguments.seeds) for arm in arms]
    sizes = {"steps": steps, "size": size, "batch": batch}
    if not arguments.report:
        flow_for_videos(root, root.video_ids(), FlowSettings(256, FLOW_BOUND, "dis"), workers=1)
        for one in runs:
            if not one.kept_in.is_file():
                make(one, root)
                write_figures(arguments.json, report(runs), **sizes, finished=told(runs))
    write_figures(arguments.json, report(runs), **sizes, finished=told(runs))


def make(run: Run, root: DataRoot) -> None:
    """Train from where it stopped, score, keep the scores; the checkpoints go."""
    name = run.arm.removesuffix(f"_{POWER}")
    marked = marked_ids(root) if name != run.arm else set()
    start = run.out / f"start_{run.seed}" / "stage_1.pth"
    common = [f"seed={run.seed}", *run.common]
    if not start.is_file():
        first = [one for one in common if not one.startswith("train.stages.1.steps=")]
        words = [*first, "train.stages.1.steps=1", "adaptation={method: source_only}", *NO_TARGET]
        train(RECIPE, words, out=start.parent, data=root.path)
    words = settings(ARMS[name], own_of(name), run.batch, "")
    changed = {one.partition("=")[0] for one in words}
    words += [one for one in common if one.partition("=")[0] not in changed]
    words += [f"train.start={start.absolute()}"]
    if ARMS[name].adapts:
        words.append(f"train.stages.1.target_batch={run.batch}")
    words += [one for one in NO_TARGET if name == "source_only" and one not in words]
    with perfect_rewards(marked) if marked else nullcontext():
        path = train(RECIPE, words, out=run.folder, data=root.path)
        trained = Target(run.arm, path, load_checkpoint(path)).load(torch.device("cpu"))
        if marked:
            found: dict = power_of_run(trained, root, marked, run.seed)
        else:
            found = scores(trained, root, parse_views(trained.recipe.evaluation.views))
    write_text(run.kept_in, json.dumps(found) + "\n")
    for checkpoint in run.folder.glob("*.pth"):
        checkpoint.unlink()
    if all((run.out / f"{arm}_{run.seed}" / "scores.json").is_file() for arm in COMPARED):
        shutil.rmtree(start.parent)


def finished_seeds(runs: list[Run], arm: str) -> list[int]:
    """Seeds of which the arm is finished."""
    return [one.seed for one in runs if one.arm == arm and one.kept_in.is_file()]


def told(runs: list[Run]) -> dict[str, list[int]]:
    """Finished seeds of every arm."""
    return {arm: finished_seeds(runs, arm) for arm in dict.fromkeys(one.arm for one in runs)}


def report(runs: list[Run]) -> dict[str, float]:
    """Print every arm with seeds that its control has too, and return the figures."""
    found = {(one.arm, one.seed): json.loads(one.kept_in.read_text()) for one in runs if one.kept_in.is_file()}
    powers = [value for (arm, _), one in found.items() if arm.endswith(POWER) for value in one.values()]
    figures: dict[str, float] = {"power": float(np.mean(powers))} if powers else {}
    print(
        "| arm | seeds | action | verb | noun | gain over bn_only (over two videos) | diverged |" + "\n|---" * 7 + "|"
    )
    for arm in (one for one in COMPARED if one in ARMS):
        seeds = [seed for seed in finished_seeds(runs, arm) if (CONTROL, seed) in found]
        if not seeds:
            continue
        of = {video: [found[arm, seed][str(video)] for seed in seeds] for video in HALVES}
        control = {video: [found[CONTROL, seed][str(video)] for seed in seeds] for video in HALVES}
        power = figures.get("power", 0.0) if ARMS[arm].agents else None
        figures |= figures_of(arm, of, control, power) | {f"{arm}_seeds": float(len(seeds))}
        for video, scored in of.items():
            figures[f"{arm}_action_{video:03d}"] = float(np.mean([one["action"] for one in scored]))
        print(f"| {ARMS[arm].title} | {len(seeds)} | {row(arm, figures, power)} |")
    return figures


if __name__ == "__main__":
    main()
