"""What training and inference of the full recipes take on a GPU; called by `run.sh`.

Parts, each written to the JSON as it ends:
- ceiling: bf16 matrix products, in TFLOP/s.
- steps: forward and backward of the two-stream I3D at the paper's 40 + 40 clips of 16 x 224 x 224 in fp32 NCDHW (the
  public port where its file is there, else our own network), in bf16 channels_last_3d, and compiled; then whole steps
  of recipes/mmir_i3d_adversarial.yaml and mmir_i3d.yaml, with peak memory, share of the ceiling by counted operations,
  and hours of the schedule.
- inference: clips per second in bf16.
- bits: whether two runs, and a run that was resumed, end with the same weights, with train.deterministic.
- tests: those that are marked gpu.
"""

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # for machine.py and models.py beside this folder

from machine import write_figures
from models import seconds

from epicsub.data.annotations import Segment
from epicsub.data.batch import Batch, ClipBatch, LabelledClipBatch, Labels
from epicsub.data.prepared import StoreChoice
from epicsub.data.root import DataRoot
from epicsub.models.i3d import I3D
from epicsub.recipe import Recipe, load_recipe
from epicsub.training.build import model_of
from epicsub.training.count import clip_work, weightless_model, work_of
from epicsub.training.device import autocast, use_fast_kernels
from epicsub.training.find import start_trial
from epicsub.training.loaders import Domains

REPOSITORY = Path(__file__).parents[2]
CHANNELS = {"rgb": 3, "flow": 2}
STEPS, WARM = 8, 3
TINY = [
    "model.width=0.0625", "data.frames=9", "data.size=32", "train.precision=32-true",  # a CPU's bf16 overflows so small
    "train.stages.0.source_batch=10", "train.stages.1.source_batch=10", "train.stages.1.target_batch=10",
]  # fmt: skip


class Run:
    """The device, the sizes, and what was measured so far.

    Args:
        given: the options.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.device, self.small, self.json = torch.device(given.device), given.small, given.json
        self.figures: dict[str, float] = {}
        self.missing: dict[str, str] = {}
        """Why a part has no figures."""

    def note(self, **figures: float) -> None:
        """Print figures, keep them, and write the file anew."""
        for name, value in figures.items():
            print(f"{name:44} {value:12.4g}", flush=True)
        self.figures |= figures
        write_figures(
            self.json, self.figures, missing=self.missing, settings={"device": self.device.type, "small": self.small}
        )

    def median(self, call: Callable[[], object]) -> float:
        """Median seconds of a call."""
        for _ in range(1 if self.small else WARM):
            call()
        return statistics.median(seconds(call, str(self.device)) for _ in range(1 if self.small else STEPS))

    def peak(self) -> float:
        """GiB of the device's memory at most, since the last call; 0 on a CPU."""
        if self.device.type != "cuda":
            return 0.0
        most = torch.cuda.max_memory_allocated(self.device) / 2**30
        torch.cuda.reset_peak_memory_stats(self.device)
        return most


def main() -> None:
    """Measure part by part; a part that fails is named in the file and on the screen, and the others go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="toy sizes, to see that everything runs")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device here; --device cpu --small tries the script")
    run, failed = Run(given), 0
    for part in (ceiling, steps, inference, bits, marked_tests):
        print(f"-- {part.__name__}", flush=True)
        try:
            part(run)
        except Exception as error:  # a part that cannot run must not take the others' figures with it
            failed += 1
            run.missing[part.__name__] = f"{type(error).__name__}: {error}"
            print(f"{part.__name__}: {run.missing[part.__name__]}", flush=True)
            run.note()
    sys.exit(1 if failed else 0)


def ceiling(run: Run) -> None:
    """TFLOP/s of a large matrix product in bf16."""
    side = 512 if run.small else 8192
    a, b = (torch.randn(side, side, device=run.device, dtype=torch.bfloat16) for _ in range(2))
    run.note(matmul_tflops=2 * side**3 / run.median(lambda: a @ b) / 1e12)


def recipe_of(run: Run, name: str) -> Recipe:
    """A shipped recipe with random weights, at toy size where that is asked for."""
    words = [
        "model.weights={rgb: null, flow: null}",
        f"train.accelerator={run.device.type}",
        *(TINY if run.small else []),
    ]
    return load_recipe(REPOSITORY / "recipes" / f"{name}.yaml", words).recipe


def clips(run: Run, recipe: Recipe, count: int) -> dict[str, torch.Tensor]:
    """Random clips on the device, in the memory format that the loader gives them."""
    shape = (recipe.data.frames, recipe.data.size, recipe.data.size)
    return {
        name: torch.randint(256, (count, *shape, channels), dtype=torch.uint8, device=run.device).movedim(-1, 1)
        for name, channels in CHANNELS.items()
    }


def steps(run: Run) -> None:
    """Seconds of a step of stage 2 in several ways, memory and hours."""
    recipe = recipe_of(run, "mmir_i3d")
    sizes = recipe.train.stages[1]
    count = sizes.source_batch + sizes.target_batch
    given = clips(run, recipe, count)
    plain = plain_step(run, given)
    run.note(plain_step_seconds=run.median(plain), plain_peak_gib=run.peak())
    del plain
    for mode in ("bf16", "compiled"):
        step = our_step(run, recipe, given, compiled=mode == "compiled")
        run.note(**{f"{mode}_step_seconds": run.median(step), f"{mode}_peak_gib": run.peak()})
        del step
    run.note(ours_over_plain=run.figures["plain_step_seconds"] / run.figures["bf16_step_seconds"])
    del given
    for name in ("mmir_i3d_adversarial", "mmir_i3d"):
        whole_step(run, name)
    run.note(
        mmir_over_adversarial=run.figures["mmir_i3d_step_seconds"] / run.figures["mmir_i3d_adversarial_step_seconds"]
    )


def plain_step(run: Run, given: dict[str, torch.Tensor]) -> Callable[[], None]:
    """Forward and backward in fp32 and NCDHW: of the public port, or of our network where its file is not there."""
    port = Path(__file__).parent / "wheels" / "pytorch_i3d.py"
    pixels = {name: (clip.float() / 127.5 - 1).contiguous() for name, clip in given.items()}
    if port.is_file() and not run.small:
        spec = importlib.util.spec_from_file_location("pytorch_i3d", port)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        trunks = {n: module.InceptionI3d(397, in_channels=c).to(run.device).train() for n, c in CHANNELS.items()}
        run.note(plain_is_the_public_port=1)
    else:
        trunks = {
            n: I3D(c, 397, width=0.0625 if run.small else 1.0).to(run.device).train() for n, c in CHANNELS.items()
        }
        run.note(plain_is_the_public_port=0)

    def step() -> None:
        sum(trunks[name](clip).logsumexp(1).sum() for name, clip in pixels.items()).backward()  # type: ignore[union-attr]
        for trunk in trunks.values():
            trunk.zero_grad(set_to_none=True)

    return step


def our_step(run: Run, recipe: Recipe, given: dict[str, torch.Tensor], compiled: bool) -> Callable[[], None]:
    """Forward and backward of our model, as training does it."""
    torch.manual_seed(0)
    model = model_of(recipe, weights=False).to(run.device).train()
    use_fast_kernels(model, run.device)
    if compiled:
        model.compile(backend="aot_eager" if run.small else "inductor")  # at toy size only the tracing is tried

    def step() -> None:
        with autocast("bf16-mixed", run.device):
            output = model(given)
            loss = output.verb_logits_BV.logsumexp(1).sum() + output.noun_logits_BN.logsumexp(1).sum()
        loss.backward()
        model.zero_grad(set_to_none=True)

    return step


def whole_step(run: Run, name: str) -> None:
    """A recipe's steps of both stages, with optimisers and agents: seconds, memory, operations, hours in all."""
    recipe = recipe_of(run, name)
    rows = [Segment(f"P01_01_{n}", "P01", "P01_01", n, n + 1.0, 0, 60, n % 97, n % 300) for n in range(300)]
    store = StoreChoice(frozenset(), "")
    domains = Domains(root=DataRoot("."), source=rows, target=[rows], store=store, lists={})
    trial = start_trial(recipe, domains)
    per_clip, hours = clip_work(weightless_model(recipe, rows), clips(run, recipe, 1)), 0.0
    for index, stage in enumerate(recipe.train.stages):
        batch = Batch(labelled(run, recipe, stage.source_batch), unlabelled(run, recipe, stage.target_batch))
        number = iter(range(10**9))
        spent = run.median(lambda: trial.step(stage, next(number), batch, index))  # noqa: B023  # called before the next
        hours += stage.steps * spent / 3600
    done = work_of(recipe, weightless_model(recipe, rows), recipe.train.stages[-1], per_clip).operations
    run.note(
        **{
            f"{name}_step_seconds": spent,
            f"{name}_peak_gib": run.peak(),
            f"{name}_share_of_ceiling": done / spent / 1e12 / run.figures["matmul_tflops"],
            f"{name}_schedule_hours": hours,
        }
    )


def labelled(run: Run, recipe: Recipe, count: int) -> LabelledClipBatch:
    """Random labelled clips on the device."""
    rows = torch.arange(count, device=run.device)
    labels = Labels(verb_B=rows % 97, noun_B=rows % 300)
    ids = [f"P01_01_{n}" for n in range(count)]
    return LabelledClipBatch(narration_ids=ids, clips=clips(run, recipe, count), labels=labels)


def unlabelled(run: Run, recipe: Recipe, count: int) -> ClipBatch | None:
    """Random clips of the target on the device; None for a stage that sees none."""
    ids = [f"P02_01_{n}" for n in range(count)]
    return ClipBatch(narration_ids=ids, clips=clips(run, recipe, count)) if count else None


def inference(run: Run) -> None:
    """Clips per second of evaluation in bf16."""
    recipe = recipe_of(run, "mmir_i3d")
    model = model_of(recipe, weights=False).to(run.device).eval()
    use_fast_kernels(model, run.device)
    count = 4 if run.small else 64
    given = clips(run, recipe, count)

    def forward() -> None:
        with torch.inference_mode(), autocast("bf16-mixed", run.device):
            model(given)

    run.note(inference_clips_per_second=count / run.median(forward))


def bits(run: Run) -> None:
    """Whether the tiny MMIR run ends with the same weights twice, and when it is killed and resumed."""
    words = [
        "train.stages.0.steps=4", "train.stages.1.steps=8", *TINY[4:],
        "train.checkpoint_every=1", "train.deterministic=true", "model.width=0.0625", "data.workers=0",
        f"train.accelerator={run.device.type}",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        kitchens = Path(temporary) / "kitchens"
        epicsub("data", "synth", kitchens, "--train", "24", "--heldout", "4", "--validation", "8", "--test", "8").wait()
        epicsub("data", "flow", "--data", kitchens).wait()
        ends = {}
        for name in ("one", "two", "resumed"):
            folder = Path(temporary) / name
            train = ("train", "recipes/tiny/mmir_i3d.yaml", *words, "--data", kitchens, "--out", folder)
            if name == "resumed":
                started = epicsub(*train)
                while started.poll() is None and step_of(folder) < 6:  # in the middle of stage 2
                    time.sleep(0.01)
                started.kill()
                started.wait()
            if epicsub(*train).wait():
                raise RuntimeError(f"the run {name} ended with an error, see above")
            ends[name] = torch.load(folder / "last.pth", weights_only=True)["model"]
    same = {
        name: all(torch.equal(value, ends[name][key]) for key, value in ends["one"].items())
        for name in ("two", "resumed")
    }
    run.note(two_runs_equal=same["two"], resumed_run_equal=same["resumed"])


def epicsub(*words: object) -> subprocess.Popen[bytes]:
    """Start a command, its output out of the way of the table."""
    command = [sys.executable, "-m", "epicsub", *map(str, words)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)


def step_of(folder: Path) -> int:
    """Step of a run's last checkpoint; 0 before the first."""
    try:
        return int(torch.load(folder / "last.pth", weights_only=True)["step"])
    except FileNotFoundError:
        return 0


def marked_tests(run: Run) -> None:
    """The tests that need a GPU; on a CPU they would skip."""
    if run.device.type == "cpu":
        return
    words = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=REPOSITORY, check=False)
    run.note(gpu_tests_passed=float(done.returncode == 0))
    if done.returncode:
        raise RuntimeError(f"pytest ended with status {done.returncode}, see above")


if __name__ == "__main__":
    main()
