"""Which segments make up a training step. The draws of a step depend on the seed and the step alone, so a run taken up
in the middle draws what it would have drawn, with nothing to save."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
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


class StepSampler(Sampler[list[Draw]]):
    """A batch sampler: the draws of steps `first_step` to `last_step` - 1, source before target.

    Each list is gone through in a new random order each time (an epoch), without replacement. Target lists share a
    batch equally, whatever their lengths; what does not divide goes to them in turn.
    """

    def __init__(
        self,
        source_size: int,
        target_sizes: Sequence[int],
        source_batch: int,
        target_batch: int,
        seed: int,
        first_step: int,
        last_step: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Sizes are numbers of segments, batches are clips a step over all `ranks` processes, `seed` not negative.

        Process `rank` gets every `ranks`-th draw of each domain, so that together they draw what one would have.
        """
        sizes = [source_size, *target_sizes] if source_batch else list(target_sizes)
        if min(sizes, default=0) < 1 or min(source_batch, target_batch, seed) < 0 or not 0 <= first_step <= last_step:
            raise ValueError(
                f"source {source_batch} of {source_size}, target {target_batch} of {list(target_sizes)}, seed {seed}, "
                f"steps {first_step} to {last_step}"
            )
        if bool(target_batch) != bool(target_sizes):
            raise ValueError(f"target_batch {target_batch} with {len(target_sizes)} target lists")
        self.source_size = source_size
        self.target_sizes = list(target_sizes)
        self.source_batch = source_batch
        self.target_batch = target_batch
        self.seed = seed
        self.first_step = first_step
        self.last_step = last_step
        self.rank = rank
        self.ranks = ranks

    def __len__(self) -> int:
        return self.last_step - self.first_step

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self.first_step, self.last_step):
            draws = self.draws(step)
            source, target = draws[: self.source_batch], draws[self.source_batch :]
            yield [*source[self.rank :: self.ranks], *target[self.rank :: self.ranks]]

    def draws(self, step: int) -> list[Draw]:
        """The draws of one step, of all processes."""
        chosen = [
            (SOURCE, 0, index)
            for index in self._run(SOURCE, 0, self.source_size, step * self.source_batch, self.source_batch)
        ]
        for number, size in enumerate(self.target_sizes):
            begin = self._drawn_before(number, step)
            count = self._drawn_before(number, step + 1) - begin
            chosen += [(TARGET, number, index) for index in self._run(TARGET, number, size, begin, count)]
        seeds = np.random.default_rng([self.seed, step]).integers(2**63, size=len(chosen))
        return [Draw(*choice, seed) for choice, seed in zip(chosen, seeds.tolist(), strict=True)]

    def _drawn_before(self, number: int, step: int) -> int:
        """Clips that target list `number` gave before `step`: its equal share, and its turns at the remainder."""
        lists = len(self.target_sizes)
        share, rest = divmod(self.target_batch, lists)
        turns = sum((number - earlier * rest) % lists < rest for earlier in range(step % lists))
        return step * share + step // lists * rest + turns

    def _run(self, domain: int, number: int, size: int, begin: int, count: int) -> list[int]:
        """Places `begin` to `begin + count` of the endless row of shuffled epochs of a list."""
        return [
            int(_epoch_order(self.seed, domain, number, size, place // size)[place % size])
            for place in range(begin, begin + count)
        ]


@lru_cache(maxsize=16)
def _epoch_order(seed: int, domain: int, number: int, size: int, epoch: int) -> np.ndarray:
    """A random order of `size` segments: the cache only saves drawing it again."""
    return np.random.default_rng([seed, domain, number, epoch]).permutation(size)
