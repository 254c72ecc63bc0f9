"""Which segments make up a training step.

The draws of a step depend on the seed and the step alone, so a resumed run draws what it would have drawn, with nothing
to save.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from epicsub.data.domains import SOURCE, TARGET


class Draw(NamedTuple):
    """One clip to make: which segment, and the seed of its position in time and of its augmentation."""

    domain: int  # domains.SOURCE or domains.TARGET
    list_index: int  # which target list; 0 for the source
    segment_index: int
    seed: int
    times_seed: int | None = None  # of its position in time, where several draws share their frames


@dataclass(eq=False)
class StepSampler(Sampler[list[Draw]]):
    """A batch sampler: the draws of steps `first_step` to `last_step` - 1, source before target.

    Each list is gone through in a new random order each time (an epoch), without replacement. Target lists share a
    batch equally, whatever their lengths; what does not divide goes to them in turn.

    With `source_weights` the epochs of the source are drawn by them: in an epoch a segment comes as often as its
    share of the weights times the number of segments says, rounded down or up. With `repeats` a step draws so many
    segments fewer and takes each as often: at the same times, which are decoded once, with other augmentation.

    Raises:
        ValueError: an argument is out of range.
    """

    source_size: int
    """Segments of the source."""
    target_sizes: Sequence[int]
    """Segments of each target list."""
    source_batch: int
    """Clips per step, of all processes together."""
    target_batch: int
    """Clips per step, of all target lists and processes together."""
    seed: int
    """From 0."""
    first_step: int
    last_step: int
    rank: int = 0
    """This process, which gets every `ranks`-th draw of each domain: together they draw what one would have."""
    ranks: int = 1
    """Number of processes."""
    source_weights: Sequence[float] | None = None
    """Of each source segment."""
    repeats: int = 1
    """How often a step takes each source segment."""

    def __post_init__(self) -> None:
        source, target = self.source_batch, self.target_batch
        sizes = [self.source_size, *self.target_sizes] if source else self.target_sizes
        ordered = 0 <= self.first_step <= self.last_step
        if min(sizes, default=0) < 1 or min(source, target, self.seed) < 0 or not ordered:
            raise ValueError(
                f"source {source} of {self.source_size}, target {target} of {list(self.target_sizes)}, "
                f"seed {self.seed}, steps {self.first_step} to {self.last_step}"
            )
        if self.repeats < 1 or source % self.repeats:
            raise ValueError(f"source batch {source} is no multiple of {self.repeats} repeats")
        weights = None if self.source_weights is None else np.array(self.source_weights, dtype=np.float64)
        if weights is not None and (len(weights) != self.source_size or weights.min() < 0):
            raise ValueError(f"{len(weights)} weights for {self.source_size} segments, or one below 0")
        self._weights = weights
        self._orders: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
        if bool(target) != bool(self.target_sizes):
            raise ValueError(f"target_batch {target} with {len(self.target_sizes)} target lists")

    def __len__(self) -> int:
        return self.last_step - self.first_step

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self.first_step, self.last_step):
            draws = self.draws(step)
            source, target = draws[: self.source_batch], draws[self.source_batch :]
            yield [*source[self.rank :: self.ranks], *target[self.rank :: self.ranks]]

    def draws(self, step: int) -> list[Draw]:
        """List the draws of one step, of all processes.

        Args:
            step: of the stage, from 0.

        Returns:
            Source before target.
        """
        different = self.source_batch // self.repeats
        segments = self._run(SOURCE, 0, self.source_size, step * different, different)
        chosen = [(SOURCE, 0, index) for index in segments] * self.repeats
        for number, size in enumerate(self.target_sizes):
            begin = self._drawn_before(number, step)
            count = self._drawn_before(number, step + 1) - begin
            chosen += [(TARGET, number, index) for index in self._run(TARGET, number, size, begin, count)]
        generator = np.random.default_rng([self.seed, step])
        seeds = generator.integers(2**63, size=len(chosen)).tolist()
        shared: list[int | None] = [None] * len(chosen)
        if self.repeats > 1:
            shared[: self.source_batch] = generator.integers(2**63, size=different).tolist() * self.repeats
        return [Draw(*choice, *two) for choice, two in zip(chosen, zip(seeds, shared, strict=True), strict=True)]

    def _drawn_before(self, number: int, step: int) -> int:
        """Clips that target list `number` gave before `step`: its equal share, and its turns at the remainder."""
        lists = len(self.target_sizes)
        share, rest = divmod(self.target_batch, lists)
        turns = sum((number - earlier * rest) % lists < rest for earlier in range(step % lists))
        return step * share + step // lists * rest + turns

    def _run(self, domain: int, number: int, size: int, begin: int, count: int) -> list[int]:
        """Places `begin` to `begin + count` of the endless row of shuffled epochs of a list."""
        found: list[int] = []
        while count > 0:
            epoch, first = divmod(begin, size)
            part = self._epoch_order(domain, number, size, epoch)[first : first + count].tolist()
            found += part
            begin, count = begin + len(part), count - len(part)
        return found

    def _epoch_order(self, domain: int, number: int, size: int, epoch: int) -> np.ndarray:
        """A list's random order in an epoch, or as many draws by weight; the last one drawn of each list is kept."""
        kept = self._orders.get((domain, number))
        if kept is None or kept[0] != epoch:
            generator = np.random.default_rng([self.seed, domain, number, epoch])
            order = generator.permutation(size)
            if domain == SOURCE and self._weights is not None:
                order = generator.permutation(systematic_draws(order, self._weights, generator))
            kept = self._orders[domain, number] = (epoch, order)
        return kept[1]


def systematic_draws(order: np.ndarray, weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw as many times as there are items, each item its expected number of times rounded down or up.

    Systematic sampling: the items lie side by side in `order`, as wide as their weights, and a comb of equal teeth is
    laid over them at a random place. Items of equal weight lie together, so that a class of a size of its own comes
    its expected number of times too. Far less noise over an epoch than independent draws.

    Args:
        order: a permutation of the items.
        weights: of each item.
        generator: of the random place.

    Returns:
        Items, as many as in `order`.
    """
    order = order[np.argsort(weights[order], kind="stable")]
    ends = np.cumsum(weights[order])
    teeth = (generator.random() + np.arange(len(order))) * (ends[-1] / len(order))
    drawn: np.ndarray = order[np.searchsorted(ends, teeth, side="right").clip(max=len(order) - 1)]
    return drawn


def batches_of_share(count: int, size: int, rank: int = 0, ranks: int = 1) -> list[list[int]]:
    """Divide a list into batches in its order, and take one process's share: every `ranks`-th batch.

    Whole batches, so that each is the same however many processes there are; no place twice, none left out.

    Args:
        count: length of the list.
        size: of a batch.
        rank: of the process.
        ranks: number of processes.

    Returns:
        Places in the list, per batch.
    """
    return [list(range(begin, min(begin + size, count))) for begin in range(0, count, size)][rank::ranks]


def balanced_weights(classes: Sequence[Hashable], balance: str) -> list[float]:
    """Weigh segments so that classes come in equal shares (class) or by the root of their size (square_root).

    Args:
        classes: of each segment.
        balance: "class" or "square_root".

    Returns:
        Weight of each segment.
    """
    counts = Counter(classes)
    power = {"class": 1.0, "square_root": 0.5}[balance]
    return [counts[name] ** -power for name in classes]
