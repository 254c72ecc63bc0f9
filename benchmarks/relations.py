"""What boxes of hands and objects add to a frozen network on small kitchens, arm by arm, paired over seeds.

    python benchmarks/relations.py --json benchmarks/results/relations.json

One small I3D with a ResNet-50 is trained on kitchens of a seed of its own and then frozen; its maps and features are
all that is learnt on. Each seed has other kitchens (three distractors lie around each action) and other first weights.
Verb and noun heads are trained on the features; then every arm goes on from there for as many steps, with the same
order of clips, and differs in what it adds:

    global      nothing
    true        relations, on exact boxes
    noisy       relations, on boxes of which a fifth is missed, sides are moved and half of the held objects are wrong
    shuffled    relations, on boxes of another clip of the list
    centre      relations, on the middle of the picture in every slot
    whole       relations, on the whole picture in every slot
    hand_crop   the features of a crop around the hands and what they hold
    oracle      the features of a crop around the object of the action, which no detector could tell apart

A gain is in points of top-1 over `global`, on held-out segments of the source kitchens and on those of the target
kitchens together (`_source`, `_target` apart), with a 95 % t interval over seeds. Seeds that are there are kept.
`--timing` adds processor time of a training step of I3D with relations over one without, and of loading a clip with
boxes over one without.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from machine import benchmark_parser, write_figures
from pairs import interval
from relations_data import SLICES, Clips, crops_of, draw_clips, hand_boxes, whole_pictures
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.data.boxes.slots import BoxSource, SlotSettings
from epicsub.data.clips import ViewClips
from epicsub.data.root import DataRoot
from epicsub.data.sampling import parse_views
from epicsub.data.sources import ClipSource
from epicsub.io import write_text
from epicsub.models.build import build_model
from epicsub.models.heads import ALL_CLASSES
from epicsub.models.relation_head import RelationHead, Relations
from epicsub.models.streams import TwoStream
from epicsub.slots import BOXES, ENTRIES, PRESENT, SCORE, SLOTS
from epicsub.synth.plan import SynthSettings

TRUNK_SEED = 1000
SIZES = {"train": 240, "heldout": 96, "validation": 96}
TRUNK_SIZES = {"train": 480, "heldout": 12, "validation": 12}
TRUNK_STEPS, TRUNK_BATCH, TRUNK_RATE = 200, 16, 2e-3
STEPS, BATCH, RATE, HIDDEN = 160, 24, 2e-3, 32
BOXED = ("true", "noisy", "shuffled", "centre", "whole")
CROPPED = ("hand_crop", "oracle")
ARMS = ("global", *BOXED, *CROPPED)
TASKS = ("noun", "verb", "action")
LISTS = {"source": "heldout", "target": "validation"}


def settings_of(seed: int, sizes: dict[str, int]) -> SynthSettings:
    """Kitchens of a seed."""
    return SynthSettings(seed=seed, test=1, distractors=3, boxes=True, **sizes)


def new_trunk() -> TwoStream:
    """The network that is frozen later."""
    torch.manual_seed(TRUNK_SEED)
    model = build_model("i3d_r50", ("rgb",), variant="tiny", weights={"rgb": None}, frames=4, dropout=0.0)
    assert isinstance(model, TwoStream)
    return model


def trunk_of(out: Path) -> TwoStream:
    """The frozen network, trained the first time."""
    path, model = out / "trunk.pth", new_trunk()
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    clips = draw_clips(settings_of(TRUNK_SEED, TRUNK_SIZES))["train"]
    pictures, order = whole_pictures(clips), torch.Generator().manual_seed(TRUNK_SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=TRUNK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, TRUNK_RATE, TRUNK_STEPS)
    model.train()
    for step in range(TRUNK_STEPS):
        rows = torch.randint(len(pictures), (TRUNK_BATCH,), generator=order)
        output = model({"rgb": pictures[rows]})
        loss = F.cross_entropy(output.verb_logits_BV, clips.verb_N[rows])
        loss = loss + F.cross_entropy(output.noun_logits_BN, clips.noun_N[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 19:
            print(f"trunk: step {step + 1} of {TRUNK_STEPS}, loss {loss.item():.2f}", flush=True)
    torch.save(model.state_dict(), f"{path}.part")
    Path(f"{path}.part").rename(path)
    return model.eval()


class Seen:
    """What the frozen network makes of a list."""

    def __init__(self, trunk: TwoStream, clips: Clips, seed: int) -> None:
        """Compute features and maps, and the boxes of every arm."""
        self.verb_N, self.noun_N = clips.verb_N, clips.noun_N
        self.features, self.maps = _frozen(trunk, whole_pictures(clips))
        crops = {"oracle": clips.noun_box, "hand_crop": hand_boxes(clips.true)}
        self.crops = {name: _frozen(trunk, crops_of(clips, corners))[0] for name, corners in crops.items()}
        other_N = _derangement(len(self.verb_N), seed)
        self.slots = {"true": clips.true, "noisy": clips.noisy, "shuffled": clips.true[other_N]}
        for name, corners in {"centre": (0.25, 0.25, 0.75, 0.75), "whole": (0.0, 0.0, 1.0, 1.0)}.items():
            slots = torch.zeros(len(self.verb_N), SLICES, len(SLOTS), ENTRIES)
            slots[..., :4], slots[..., SCORE], slots[..., PRESENT] = torch.tensor(corners), 1.0, 1.0
            self.slots[name] = slots


def _derangement(count: int, seed: int) -> Tensor:
    """An order in which no clip keeps its place."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other


@torch.no_grad()
def _frozen(trunk: TwoStream, pictures: Tensor) -> tuple[Tensor, Tensor]:
    found = [trunk.stream("rgb").features_and_map(part) for part in pictures.split(32)]
    features, maps = zip(*found, strict=True)
    return torch.cat(features), torch.cat(maps)


class Heads(nn.Module):
    """Linear verb and noun heads on features, and what an arm adds to them."""

    def __init__(self, dim: int) -> None:
        """Make heads of random weights."""
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.verb_head, self.noun_head = nn.Linear(dim, 97), nn.Linear(dim, 300)
        self.more: nn.Module | None = None

    def forward(self, seen: Seen, rows: Tensor, arm: str) -> tuple[Tensor, Tensor]:
        """Logits of some clips of a list."""
        dropped = self.dropout(seen.features[rows])
        verb, noun = self.verb_head(dropped), self.noun_head(dropped)
        if isinstance(self.more, RelationHead):
            side = 16 * seen.maps.shape[-1]
            return self.more(seen.maps[rows], seen.slots[arm][rows], (side, side)).added_to(verb, noun)
        if isinstance(self.more, Heads):
            dropped = self.more.dropout(seen.crops[arm][rows])
            return verb + self.more.verb_head(dropped), noun + self.more.noun_head(dropped)
        return verb, noun


def train_heads(heads: Heads, seen: Seen, arm: str, seed: int, rate: float) -> None:
    """Train heads for the steps of a phase; the order of clips is that of the seed."""
    order = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    heads.train()
    for _ in range(STEPS):
        rows = torch.randint(len(seen.verb_N), (BATCH,), generator=order)
        verb, noun = heads(seen, rows, arm)
        loss = F.cross_entropy(verb, seen.verb_N[rows]) + F.cross_entropy(noun, seen.noun_N[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def run_seed(seed: int, trunk: TwoStream) -> dict[str, dict[str, list[float]]]:
    """Every arm of a seed: list -> arm -> percent right of `TASKS`, and the number of clips."""
    drawn = draw_clips(settings_of(seed, SIZES))
    seen = {split: Seen(trunk, clips, seed) for split, clips in drawn.items()}
    torch.manual_seed(seed)
    dim = seen["train"].features.shape[1]
    first = Heads(dim)
    train_heads(first, seen["train"], "global", seed, RATE)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in LISTS}
    for arm in ARMS:
        torch.manual_seed(seed + 1)
        heads = Heads(dim)
        heads.load_state_dict(first.state_dict())
        heads.more = _added(arm, dim, seen["train"].maps.shape[1])
        train_heads(heads, seen["train"], arm, seed + 1, RATE)
        heads.eval()
        for name, split in LISTS.items():
            found[name][arm] = _scores(heads, seen[split], arm)
    for name, split in LISTS.items():
        present = seen[split].slots["true"][..., PRESENT].any(dim=1).float()
        found[name]["slots"] = [float(present.any(dim=1).float().mean()), float(present.sum(dim=1).mean())]
    return found


def _added(arm: str, dim: int, channels: int) -> nn.Module | None:
    if arm in BOXED:
        return RelationHead(channels, Relations(hidden=HIDDEN), ALL_CLASSES)
    if arm in CROPPED:
        more = Heads(dim)
        for head in (more.verb_head, more.noun_head):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        return more
    return None


@torch.no_grad()
def _scores(heads: Heads, seen: Seen, arm: str) -> list[float]:
    verb, noun = heads(seen, torch.arange(len(seen.verb_N)), arm)
    right = {"verb": verb.argmax(1) == seen.verb_N, "noun": noun.argmax(1) == seen.noun_N}
    right["action"] = right["verb"] & right["noun"]
    return [100 * float(right[task].float().mean()) for task in TASKS]


def figures_of(runs: dict[int, dict[str, dict[str, list[float]]]]) -> dict[str, float]:
    """Mean scores, and gains over `global` with their intervals."""
    found: dict[str, float] = {"seeds": float(len(runs))}
    count = {name: SIZES[split] for name, split in LISTS.items()}
    for number, task in enumerate(TASKS):
        of_arm = {}
        for arm in ARMS:
            lists = {name: np.array([run[name][arm][number] for run in runs.values()]) for name in LISTS}
            both = sum(lists[name] * count[name] for name in LISTS) / sum(count.values())
            of_arm[arm] = {"": both} | {f"_{name}": values for name, values in lists.items()}
            found |= {f"{arm}_{task}{name}": float(values.mean()) for name, values in of_arm[arm].items()}
        for arm in ARMS[1:]:
            for name, values in of_arm[arm].items():
                gain = values - of_arm["global"][name]
                mean, half = float(gain.mean()), interval(gain)
                key = f"{arm}_{task}_gain{name}"
                found |= {key: mean, f"{key}_low": mean - half, f"{key}_high": mean + half}
        beyond = of_arm["true"][""] - of_arm["centre"][""]
        mean, half = float(beyond.mean()), interval(beyond)
        key = f"true_over_centre_{task}"
        found |= {key: mean, f"{key}_low": mean - half, f"{key}_high": mean + half}
    return {name: round(value, 3) for name, value in found.items() if not math.isnan(value)}


def step_over_global() -> float:
    """Processor time of a training step of I3D with relations over one without; the median of pairs."""
    clips = {"rgb": torch.randint(0, 256, (2, 3, 16, 112, 112), dtype=torch.uint8), BOXES: _boxes(2, 4)}
    models = [build_model("i3d", ("rgb",), weights={"rgb": None}, relations=of).train() for of in (None, {})]

    def step(model: nn.Module) -> None:
        output = model(clips)
        (output.verb_logits_BV.logsumexp(1).sum() + output.noun_logits_BN.logsumexp(1).sum()).backward()

    return _ratio(*(lambda model=model: step(model) for model in models), pairs=5)


def _boxes(clips: int, times: int) -> Tensor:
    slots = torch.rand(clips, times, len(SLOTS), ENTRIES)
    slots[..., :2] /= 2
    slots[..., 2:4] = slots[..., :2] + 0.3
    slots[..., PRESENT] = 1.0
    return slots


def loader_over_plain(root: DataRoot) -> float:
    """Processor time of reading clips of a data root with boxes over that without; the median of pairs."""
    segments = root.segments("EPIC_100_train.csv")[:60]
    cut = {"frames": 16, "sampling": "dense", "stride": 1 / 30, "short_side": 72, "size": 64}
    sources = (None, BoxSource(root.path, SlotSettings()))
    lists = [
        ViewClips(segments, ClipSource(root, ("rgb",)), **cut, views=parse_views("1x1"), boxes=boxes)
        for boxes in sources
    ]

    def read(clips: ViewClips) -> None:
        for place in range(len(segments)):
            clips[place]

    return _ratio(*(lambda clips=clips: read(clips) for clips in lists), pairs=5)


def _ratio(plain: Callable[[], None], other: Callable[[], None], pairs: int) -> float:
    found = []
    for number in range(pairs + 1):
        spent = []
        for work in (plain, other):
            began = time.process_time()
            work()
            spent.append(time.process_time() - began)
        if number:  # the first pair warms up
            found.append(spent[1] / spent[0])
    return median(found)


def main() -> None:
    """Measure with the command's options."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/relations"))
    parser.add_argument("--seeds", type=int, default=10, help="that are reported, from 0")
    parser.add_argument("--timing", type=Path, metavar="ROOT", help="time steps, and the loader on this data root")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    runs = {}
    for seed in range(given.seeds):
        path = given.out / f"seed_{seed}.json"
        if not path.is_file():
            began = time.process_time()
            write_text(path, json.dumps(run_seed(seed, trunk_of(given.out))))
            print(f"seed {seed}: {time.process_time() - began:.0f} s of processor time", flush=True)
        runs[seed] = json.loads(path.read_text())
        _print(figures_of(runs))
    figures = figures_of(runs)
    if given.timing:
        figures["relations_step_over_global"] = round(step_over_global(), 3)
        figures["boxes_loader_over_plain"] = round(loader_over_plain(DataRoot(given.timing)), 3)
    write_figures(given.json, figures, runs=[{"seed": seed, **run} for seed, run in runs.items()])


def _print(figures: dict[str, float]) -> None:
    print(f"{figures['seeds']:g} seeds")
    for arm in ARMS:
        gain = figures.get(f"{arm}_noun_gain", 0.0)
        ends = [figures.get(f"{arm}_noun_gain_{end}", math.nan) for end in ("low", "high")]
        print(f"  {arm:10} noun {figures[f'{arm}_noun']:5.1f}  gain {gain:+5.1f} [{ends[0]:+.1f}, {ends[1]:+.1f}]  "
              f"verb {figures[f'{arm}_verb']:5.1f}  action {figures[f'{arm}_action']:5.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
