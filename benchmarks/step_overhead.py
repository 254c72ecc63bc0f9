"""What the agents of MMIR cost: a stage 2 step of MMIR over the adversarial-only step, on the full-width I3D.

    python benchmarks/step_overhead.py --json benchmarks/results/step_overhead.json

Both methods step the same two-stream I3D on clips of 16x224x224, alternating in one run. A step is what training does:
both domains forward, losses, backward, SGD of model and discriminators, and of the agents on their own loss. The replay
pools are filled before, since agents learn from more than 64 picks only.

Whole steps on a CPU differ by a tenth from one to the next, far more than the agents cost. So each step is timed in two
parts: what the method does (its losses, the agents' backward and update) and the rest, which is the same for both.
    mmir_step_overhead = (rest + MMIR's part) / (rest + the adversarial part), medians over all steps.
The plain ratio of whole steps is kept beside it, and every step's seconds. The agents' work depends on the replay batch
(64) and hardly on the clips, so a small batch overstates their share: the figure bounds that of the paper's 40 + 40. On
frozen features, where the rest is small, it is measured too.
"""

import statistics
import time
from collections.abc import Callable

import torch
from machine import benchmark_parser, write_figures
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

from epicsub.adaptation import MMIR, AdaptationBatch, AdaptationMethod, Adversarial
from epicsub.models.heads import TwoHeadOutput
from epicsub.models.i3d import two_stream_i3d
from epicsub.recipe import AdversarialAdaptation, MMIRAdaptation

FRAMES, SIDE = 16, 224
CHANNELS = {"rgb": 3, "flow": 2}


class Heads(nn.Module):
    """A linear bottleneck of 256 units and two heads per modality, on features of 1024: training on frozen features."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_dims = dict.fromkeys(CHANNELS, 256)
        self.layers = nn.ModuleDict({m: nn.Linear(1024, 256) for m in CHANNELS})
        self.verb, self.noun = nn.Linear(512, 97), nn.Linear(512, 300)

    def forward(self, clips: dict[str, Tensor]) -> TwoHeadOutput:
        features = {m: torch.relu(layer(clips[m])) for m, layer in self.layers.items()}
        both = torch.cat(list(features.values()), dim=1)
        return TwoHeadOutput(self.verb(both), self.noun(both), features)


def one_step(
    model: nn.Module, method: AdaptationMethod, optimizers: list[Optimizer], source: dict, target: dict, number: int
) -> tuple[float, float]:
    """A stage 2 step (MMIR Eq 12); seconds of all of it, and of the method's part."""
    start = time.perf_counter()
    labels = torch.arange(len(next(iter(source.values()))))
    outputs = (model(source), model(target))
    begin = time.perf_counter()
    losses = method.losses(batch_of(outputs, labels, number, model))
    own = time.perf_counter() - begin
    classified = F.cross_entropy(outputs[0].verb_logits_BV, labels) + F.cross_entropy(outputs[0].noun_logits_BN, labels)
    optimizers[0].zero_grad(set_to_none=True)
    (classified + losses.alignment).backward()
    optimizers[0].step()
    begin = time.perf_counter()
    if losses.agents is not None:
        optimizers[1].zero_grad(set_to_none=True)
        losses.agents.backward()
        optimizers[1].step()
    method.after_step(number)
    end = time.perf_counter()
    return end - start, own + end - begin


def batch_of(
    outputs: tuple[TwoHeadOutput, TwoHeadOutput], labels: Tensor, number: int, model: nn.Module | None = None
) -> AdaptationBatch:
    """In the middle of stage 2."""
    draw = torch.Generator().manual_seed(number)
    return AdaptationBatch(
        source=outputs[0], target=outputs[1], verb_B=labels, noun_B=labels, progress=0.5, stage=1, step=number,
        generator=draw, model=model,
    )  # fmt: skip


def fill_replay(method: MMIR, picks: int) -> None:
    """Let the agents pick from random features until their pools hold more than `picks`."""
    number = 0
    while any(len(agent.replay) <= picks for agent in method.agents.values()):  # type: ignore[arg-type]
        features = [{m: torch.randn(5, d) for m, d in method.feature_dims.items()} for _ in range(2)]
        source, target = (TwoHeadOutput(torch.zeros(5, 1), torch.zeros(5, 1), f) for f in features)
        method.losses(batch_of((source, target), torch.zeros(5, dtype=torch.int64), number))
        number += 1


Seconds = dict[str, list[float]]


def times(model: nn.Module, draw: Callable[[int], dict[str, Tensor]], pairs: int, warm: int) -> Seconds:
    """Seconds of steps of both methods, alternating: whole steps by method, and `adversarial part`, `mmir part`."""
    dims: dict[str, int] = model.feature_dims  # type: ignore[assignment]
    methods: dict[str, AdaptationMethod] = {
        "adversarial": Adversarial(dims, AdversarialAdaptation(method="adversarial")),
        "mmir": MMIR(dims, MMIRAdaptation(method="mmir")),
    }
    fill_replay(methods["mmir"], 64)  # type: ignore[arg-type]
    optimizers = {}
    for name, method in methods.items():
        optimizers[name] = [SGD([*model.parameters(), *method.alignment_parameters()], lr=1e-5, momentum=0.9)]
        if agents := list(method.agent_parameters()):
            optimizers[name].append(SGD(agents, lr=1e-3, momentum=0.9))
    source, target = draw(0), draw(1)
    seconds: Seconds = {key: [] for name in methods for key in (name, f"{name} part")}
    for number in range(-warm, pairs):
        for name in list(methods) if number % 2 == 0 else reversed(methods):
            whole, part = one_step(model, methods[name], optimizers[name], source, target, max(number, 0))
            if number >= 0:
                seconds[name].append(whole)
                seconds[f"{name} part"].append(part)
    return seconds


def overhead(seconds: Seconds) -> tuple[float, float, float]:
    """MMIR over adversarial: by parts, by whole steps; and the agents' share of a MMIR step."""
    names = ("adversarial", "mmir")
    rest = statistics.median(
        whole - part for name in names for whole, part in zip(seconds[name], seconds[f"{name} part"], strict=True)
    )
    adversarial, mmir = (rest + statistics.median(seconds[f"{name} part"]) for name in names)
    whole = statistics.median(seconds["mmir"]) / statistics.median(seconds["adversarial"])
    return mmir / adversarial, whole, (mmir - adversarial) / mmir


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--batch", type=int, default=5, help="clips of each domain, a multiple of 5")
    parser.add_argument("--pairs", type=int, default=3, help="steps of each method")
    given = parser.parse_args()

    torch.manual_seed(0)
    model = two_stream_i3d(tuple(CHANNELS)).train()

    def clips(seed: int) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(seed)
        shape = (FRAMES, SIDE, SIDE)
        return {
            m: torch.randint(0, 256, (given.batch, c, *shape), dtype=torch.uint8, generator=draw)
            for m, c in CHANNELS.items()
        }

    def vectors(seed: int) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(seed)
        return {m: torch.randn(40, 1024, generator=draw) for m in CHANNELS}

    on_clips, on_features = times(model, clips, given.pairs, warm=1), times(Heads(), vectors, 100, warm=5)
    (parts, whole, share), (feature_parts, feature_whole, feature_share) = overhead(on_clips), overhead(on_features)
    figures = {
        "mmir_step_overhead": parts,
        "mmir_step_overhead_whole_steps": whole,
        "agents_share_percent": 100 * share,
        "features_mmir_step_overhead": feature_parts,
        "features_mmir_step_overhead_whole_steps": feature_whole,
        "features_agents_share_percent": 100 * feature_share,
    }
    print(f"full-width I3D, {given.batch}+{given.batch} clips, {torch.get_num_threads()} threads, seconds:")
    for name, seconds in on_clips.items():
        print(f"  {name:16} {' '.join(f'{s:.3f}' for s in seconds)}")
    print(f"  overhead {parts:.4f} by parts (at most 1.05), {whole:.4f} of whole steps; agents {100 * share:.2f} %")
    print(f"features of 1024, 40+40: {feature_parts:.2f} by parts, {feature_whole:.2f} of whole steps, ", end="")
    print(f"agents {100 * feature_share:.0f} % of a step of {1000 * statistics.median(on_features['mmir']):.1f} ms")
    settings = {"batch": given.batch, "pairs": given.pairs, "threads": torch.get_num_threads()}
    write_figures(given.json, figures, settings=settings, seconds=on_clips)


if __name__ == "__main__":
    main()
