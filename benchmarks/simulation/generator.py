"""Synthetic features of two kitchens with planted outliers.

One instance is a 24-vector per modality (rgb, flow): x = A_k (mean + noise) + b_k, where the kitchen k (source, target)
gives A_k, a rotation (Cayley transform) times gains of the channels, and b_k. The mean is that of the instance's
class, except for planted outliers, a share rho of the training instances of each domain:

- planted source: 0.4 mu_y + 0.6 mu_perm(y) + offset: half of what shows is another class's, the label stays y;
- planted target: 0.6 mu_u + 0.6 N(0, I) + offset, u one of three classes that the source does not have;
- offset: `view` x N(0, I), one for each domain and modality, as a kitchen's b_k is.

Test instances are target instances of known classes. Class frequencies are those of D1 (source) and D2 (target) of
MM-SADA, and so are the sizes of the two training sets. Each instance also comes as five frames, for the method that
reads them: x plus noise as large as the instances', drawn for each frame and moved so that the frames' mean is x.

Where the description that this follows is silent, these are our choices: class means are `CLASS_SCALE` x N(0, I),
drawn for each modality; the Cayley transform is of a skew matrix of `ROTATION` x shift x N(0, 1) / sqrt(d) entries;
both kitchens are moved; the outliers' 0.6 N(0, I) is drawn for each instance; exactly round(rho n) instances are
planted; an instance is planted in both modalities; there are 3,000 test instances. The two constants, the learning
rates and the reading of "offset" were set on seeds of their own so that source only and adversarial only come near the
figures of the earlier simulation in its first two settings (70.4 and 78.9, 71.8 and 78.5), before any agent or rule was
run. In its third setting, the one that is reported, this simulation is easier: 87 instead of 81.8 for adversarial only.

Shapes: n instances, F frames, d features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

DIM = 24
CLASSES, UNKNOWN = 8, 3
MODALITIES = {"rgb": 1.0, "flow": 0.6}  # share of the shift that reaches the modality
SOURCE_COUNTS = (421, 383, 231, 128, 223, 71, 42, 44)  # D1 train, MM-SADA
TARGET_COUNTS = (715, 692, 245, 214, 298, 89, 113, 129)  # D2 train
TEST_SIZE = 3000
FRAMES = 5  # TA3N's
CLASS_SCALE = 1.0
ROTATION = 0.16


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a simulation is drawn with."""

    rho: float = 0.2
    """Share of planted outliers in each training set."""
    view: float = 4.0
    """Standard deviation of the outliers' offset."""
    lam: float = 0.2
    """Final strength of the gradient reversal (of training, not of the data)."""
    shift: float = 2.0
    """Strength of the kitchens' rotation, gains and offset."""
    noise: float = 1.5
    """Standard deviation of the instances around their mean."""


@dataclass(frozen=True)
class Instances:
    """Instances of one kitchen."""

    features: dict[str, Tensor]
    """(n, d) a modality."""
    frames: dict[str, Tensor]
    """(n, F, d) a modality; their mean is the features."""
    labels: Tensor
    """(n,) class; -1 for planted target instances."""
    planted: Tensor
    """(n,) bool. For oracles and reports alone."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Simulation:
    """What one seed draws."""

    source: Instances
    target: Instances
    test: Instances


def simulate(seed: int, setting: Setting) -> Simulation:
    """Draw the two kitchens of a seed. The draws do not depend on `rho`: a larger share plants more of the same."""
    generator = torch.Generator().manual_seed(seed)
    shaking = torch.Generator().manual_seed(seed + 2_000_000)  # of its own: frames change nothing else
    derangement = _derangement(generator)
    labels = {
        "source": _labels(SOURCE_COUNTS, sum(SOURCE_COUNTS), generator),
        "target": _labels(TARGET_COUNTS, sum(TARGET_COUNTS), generator),
        "test": _labels(TARGET_COUNTS, TEST_SIZE, generator),
    }
    shares = {"source": setting.rho, "target": setting.rho, "test": 0.0}
    planted = {part: _planted(len(y), shares[part], generator) for part, y in labels.items()}
    unknown = torch.randint(UNKNOWN, labels["target"].shape, generator=generator) + CLASSES
    features: dict[str, dict[str, Tensor]] = {part: {} for part in labels}
    frames: dict[str, dict[str, Tensor]] = {part: {} for part in labels}
    for modality, share in MODALITIES.items():
        mu = CLASS_SCALE * torch.randn(CLASSES + UNKNOWN, DIM, generator=generator)
        kitchens = {name: _kitchen(setting.shift * share, generator) for name in ("source", "target")}
        offsets = {name: setting.view * torch.randn(DIM, generator=generator) for name in kitchens}
        strangers = 0.6 * mu[unknown] + 0.6 * torch.randn(len(unknown), DIM, generator=generator) + offsets["target"]
        outliers = {
            "source": 0.4 * mu[labels["source"]] + 0.6 * mu[derangement[labels["source"]]] + offsets["source"],
            "target": strangers,
            "test": mu[labels["test"]],
        }
        for part, y in labels.items():
            mean = torch.where(planted[part][:, None], outliers[part], mu[y])
            a, b = kitchens["source" if part == "source" else "target"]
            noise = setting.noise * torch.randn(len(y), DIM, generator=generator)
            x = (mean + noise) @ a.T + b
            shakes = setting.noise * torch.randn(len(y), FRAMES, DIM, generator=shaking)
            features[part][modality] = x
            frames[part][modality] = x[:, None] + (shakes - shakes.mean(1, keepdim=True)) @ a.T
    labels["target"] = torch.where(planted["target"], -1, labels["target"])
    return Simulation(*(Instances(features[part], frames[part], labels[part], planted[part]) for part in shares))


def _derangement(generator: torch.Generator) -> Tensor:
    """A permutation of the known classes that leaves none in its place."""
    while True:
        order = torch.randperm(CLASSES, generator=generator)
        if not bool((order == torch.arange(CLASSES)).any()):
            return order


def _labels(counts: tuple[int, ...], size: int, generator: torch.Generator) -> Tensor:
    """`size` classes with the frequencies of `counts`, in random order."""
    frequencies = torch.tensor(counts, dtype=torch.float64)
    return torch.multinomial(frequencies, size, replacement=True, generator=generator)


def _planted(size: int, rho: float, generator: torch.Generator) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[torch.randperm(size, generator=generator)[: round(rho * size)]] = True
    return mask


def _kitchen(shift: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A_k (d, d) and b_k (d,)."""
    skew = ROTATION * shift * torch.randn(DIM, DIM, generator=generator) / DIM**0.5
    skew = (skew - skew.T) / 2**0.5
    eye = torch.eye(DIM)
    rotation = torch.linalg.solve(eye + skew, eye - skew)
    gains = 1.0 + 0.1 * shift * torch.randn(DIM, generator=generator)
    return rotation * gains, 0.5 * shift * torch.randn(DIM, generator=generator)
