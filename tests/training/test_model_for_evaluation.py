"""Processes that share a list to score have one model: the first one's batch norms, without DDP around it."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.multiprocessing import start_processes

from epicsub.training.loop import model_for_evaluation


def state_of(value: float) -> tuple[Any, nn.Module]:
    model = nn.BatchNorm1d(2)
    nn.init.constant_(model.running_mean, value)
    wrapped = SimpleNamespace(module=model)
    return SimpleNamespace(model=wrapped, evaluation_model=wrapped), model


def one_of_two(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    state, model = state_of(rank + 5.0)
    fabric: Any = SimpleNamespace(world_size=2, autocast=nullcontext)
    with model_for_evaluation(fabric, state) as given:
        assert given is model
        torch.save(given.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_score_with_the_batch_norms_of_the_first(tmp_path: Path) -> None:
    start_processes(one_of_two, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt")["running_mean"].tolist() == [5.0, 5.0]


def test_one_process_scores_the_model_as_it_is() -> None:
    state, _ = state_of(3.0)
    fabric: Any = SimpleNamespace(world_size=1, autocast=nullcontext)
    with model_for_evaluation(fabric, state) as given:
        assert given is state.evaluation_model
