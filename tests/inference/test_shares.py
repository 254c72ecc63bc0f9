"""Several processes predict a list's batches among them, and each has what one process would have alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing import start_processes

from epicsub.data.samplers import batches_of_share
from epicsub.errors import PredictionsError
from epicsub.inference.predict import concatenate, gather_predictions, predict
from epicsub.models.heads import TwoHeadOutput
from epicsub.predictions import Predictions

COUNT, SIZE = 11, 3
IDS = [f"P01_01_{number}" for number in range(COUNT)]


class Crowded(nn.Module):
    """Logits of a clip that depend on the others of its batch, as rounding in a real network does."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.Parameter(torch.randn(1, 397, generator=generator))

    def forward(self, clips: dict[str, torch.Tensor]) -> TwoHeadOutput:
        first = clips["rgb"].float()[:, :1]
        verb, noun = ((first + first.mean()) * self.weights).split((97, 300), dim=1)
        return TwoHeadOutput(verb, noun, {})


def share(rank: int, ranks: int) -> Predictions | None:
    batches = [
        ([IDS[place] for place in places], {"rgb": torch.tensor(places)[:, None, None] / 7})
        for places in batches_of_share(COUNT, SIZE, rank, ranks)
    ]
    return predict(Crowded(), batches, len(batches), torch.device("cpu"), "test") if batches else None


def same(found: Predictions, expected: Predictions) -> bool:
    names = ("narration_ids", "verb_logprobs", "noun_logprobs")
    return all(np.array_equal(getattr(found, name), getattr(expected, name)) for name in names)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6])
def test_shares_are_disjoint_and_together_the_list(ranks: int) -> None:
    shares = [batches_of_share(COUNT, SIZE, rank, ranks) for rank in range(ranks)]
    whole = [place for batches in shares for batch in batches for place in batch]
    assert sorted(whole) == list(range(COUNT))  # each once
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert {tuple(batch) for batches in shares for batch in batches} == set(map(tuple, batches_of_share(COUNT, SIZE)))


@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_concatenated_predictions_are_those_of_one_process_to_the_bit(ranks: int) -> None:
    parts = [part for rank in range(ranks) if (part := share(rank, ranks)) is not None]
    alone = share(0, 1)
    assert alone is not None
    assert alone.narration_ids.tolist() == IDS
    assert same(concatenate(parts).select(IDS), alone)


def test_a_segment_of_two_processes_or_of_none_is_refused() -> None:
    first = share(0, 2)
    assert first is not None
    with pytest.raises(PredictionsError, match=r"more than once, keep each once: P01_01_0"):
        concatenate([first, first])
    with pytest.raises(PredictionsError, match=r"no predictions for 5 of 11 segments: P01_01_3"):
        concatenate([first]).select(IDS)


def one_of_two(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = gather_predictions(share(rank, 2), IDS)
    np.savez(f"{folder}/{rank}.npz", found.narration_ids, found.verb_logprobs, found.noun_logprobs)
    torch.distributed.destroy_process_group()


def test_two_real_processes_both_have_the_whole(tmp_path: Path) -> None:
    start_processes(one_of_two, (str(tmp_path),), nprocs=2)
    alone = share(0, 1)
    assert alone is not None
    for rank in (0, 1):
        with np.load(tmp_path / f"{rank}.npz") as arrays:
            assert same(Predictions(*(arrays[name] for name in ("arr_0", "arr_1", "arr_2"))), alone)
