"""The arms of the small benchmarks, and the settings that every one of them is tried with.

All arms of a seed have the same data, first weights, order of clips, dropout and first stage, and begin with the second
stage from that first stage's end (`train.start`); they differ in what the second stage adds to the classification loss.
`bn_only` adds nothing and only sends target clips through the network: a gain is one over it.

Every arm is tried with the same grid: weight of the classification loss x strength of its alignment (`lam_max` where a
gradient is reversed, `loss_weight` else) x learning rate. What scores best on the tuning seeds, which are not reported,
is its chosen setting; the one of its paper or code is reported beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

CONTROL = "bn_only"
WEIGHTS, STRENGTHS = (1.0, 0.2), (0.2, 1.0)
HALF_CLASSIFIES = 2  # MM-SADA's class loss reads every second source clip: it draws twice as many


class Values(NamedTuple):
    """A setting of the grid."""

    class_weight: float
    strength: float
    rate: float

    def __str__(self) -> str:
        return f"{self.class_weight:g} / {self.strength:g} / {self.rate:g}"


@dataclass(frozen=True)
class Arm:
    """A method, and what the grid can change in it."""

    title: str
    method: str
    """Settings of `adaptation`, as in a recipe."""
    own: tuple[float, float]
    """Weight of the classification loss and strength of its paper or code; of ours what mmir has."""
    strength: str | None = None
    """Key of `adaptation` that the grid's strength is."""
    adapts: bool = True
    """Whether training steps see target clips."""
    labelled: bool = False
    """Whether it learns from the target's labels, and so has no shared start and no grid."""
    agents: bool = False
    attention: bool | None = None
    """Of a network of temporal relations, which arms have that read several views as frames; None for the shared one.
    Theirs is another network, so they make the first stage themselves."""

    @property
    def reads_target(self) -> bool:
        """True if its recipe names target lists: AdaBN reads them after training."""
        return self.adapts or self.method == "method: adabn"

    @property
    def classifies_half(self) -> bool:
        """True if the class loss reads every second source clip."""
        return "mm_sada" in self.method


ARMS = {
    "source_only": Arm("source only", "method: source_only", (1.0, 0.0), adapts=False),
    "bn_only": Arm("batch norm only", "method: bn_only", (1.0, 0.0)),
    "adabn": Arm("AdaBN", "method: adabn", (1.0, 0.0), adapts=False),
    "mmd": Arm("MMD", "method: mmd", (1.0, 1.0), "loss_weight"),
    "mcd": Arm("MCD", "method: mcd", (1.0, 1.0), "lam_max"),
    "adversarial": Arm("adversarial only", "method: adversarial", (1.0, 0.2), "lam_max"),
    "mm_sada": Arm("MM-SADA", "method: mm_sada, correspondence_weights: [0.0, 1.0]", (0.2, 0.2), "lam_max"),
    "contrastive": Arm("Kim-style", "method: contrastive", (1.0, 1.0), "loss_weight"),
    "rna": Arm("RNA", "method: rna", (1.0, 1.0), "loss_weight"),
    "self_training": Arm("self-training (ours)", "method: self_training", (1.0, 1.0), "loss_weight"),
    "random_removal": Arm("random removal", "method: random_removal", (1.0, 0.2), "lam_max"),
    "min_delta": Arm("min-Delta", "method: min_delta", (1.0, 0.2), "lam_max"),
    "oracle": Arm("oracle", "method: oracle, outliers: OUTLIERS", (1.0, 0.2), "lam_max"),
    "mmir_plus": Arm("MMIR plus (ours)", "method: mmir_plus", (1.0, 0.2), "lam_max"),
    "mmir": Arm("MMIR", "method: mmir", (1.0, 0.2), "lam_max", agents=True),
    "mmir_task": Arm(
        "MMIR, paid by the task (ours)",
        "method: mmir, rewards: {relevance: task, quantile: 0.2, continuous: true}",
        (1.0, 0.2),
        "lam_max",
        agents=True,
    ),
    "relations_source_only": Arm(
        "relations, source only", "method: source_only", (1.0, 0.0), adapts=False, attention=False
    ),
    "ta3n": Arm("TA3N", "method: ta3n", (0.5, 1.0), "loss_weight", attention=True),
    "supervised": Arm("supervised", "method: supervised", (1.0, 0.0), adapts=False, labelled=True),
}


def grid(rates: Sequence[float]) -> list[Values]:
    """Every setting that an arm is tried with."""
    return [Values(*values) for values in product(WEIGHTS, STRENGTHS, rates)]


def told_apart(arm: Arm, values: Values) -> Values:
    """A setting with 0 for what the arm does not have: settings that are then the same are one run."""
    return Values(values.class_weight if arm.adapts else 0.0, values.strength if arm.strength else 0.0, values.rate)


def settings(arm: Arm, values: Values, source_batch: int, outliers: str) -> list[str]:
    """Overrides of the second stage of a recipe whose target batch is that of an arm that adapts."""
    strength = f", {arm.strength}: {values.strength}" if arm.strength else ""
    method = arm.method.replace("OUTLIERS", outliers)
    found = [f"adaptation={{{method}{strength}}}", f"train.stages.1.learning_rate={values.rate}"]
    if arm.adapts:
        found.append(f"train.stages.1.class_weight={values.class_weight}")
    else:
        found.append("train.stages.1.target_batch=0")
    if arm.classifies_half:
        found.append(f"train.stages.1.source_batch={HALF_CLASSIFIES * source_batch}")
    return found
