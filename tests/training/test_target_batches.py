"""What a method that reads the target after training is given: all clips once, shuffled, in large, equal batches."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from epicsub.recipe import load_recipe
from epicsub.training import loop


def batches(monkeypatch: pytest.MonkeyPatch, repository: Path, count: int, size: int, seed: int = 1) -> list[list[int]]:
    """Numbers of the clips in each batch; the loader reads three at a time, and the second modality is the negative."""

    def reads(recipe: object, root: object, segments: Sequence[int], *_: object) -> list:
        parts = [segments[begin : begin + 3] for begin in range(0, len(segments), 3)]
        made = [torch.tensor(part)[:, None, None] for part in parts]  # (B, views, D)
        return [(None, {"rgb": clip, "flow": -clip}) for clip in made]

    monkeypatch.setattr(loop, "view_loader", reads)
    recipe = load_recipe(repository / "recipes" / "tiny" / "adabn.yaml", [f"seed={seed}"]).recipe
    domains = SimpleNamespace(root=None, store=None, target_segments=list(range(count)))
    found = list(loop.target_batches(recipe, domains, size))
    for batch in found:
        assert torch.equal(batch["rgb"], -batch["flow"])
        assert batch["rgb"].shape == (len(batch["rgb"]), 1)
    return [batch["rgb"].flatten().tolist() for batch in found]


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(20, 128, [20]), (257, 128, [85, 86, 86]), (256, 128, [128, 128]), (7, 3, [2, 2, 3]), (5, 5, [5])],
)
def test_every_clip_comes_once_in_equal_batches(monkeypatch, repository, count, size, sizes) -> None:
    found = batches(monkeypatch, repository, count, size)
    assert [len(batch) for batch in found] == sizes
    assert sorted(number for batch in found for number in batch) == list(range(count))


def test_the_order_is_drawn_by_the_seed_from_the_whole_list(monkeypatch, repository) -> None:
    one, again = (batches(monkeypatch, repository, 400, 100) for _ in range(2))
    assert one == again
    assert one != batches(monkeypatch, repository, 400, 100, seed=2)
    for batch in one:  # of each quarter of the list about a quarter: five standard deviations
        assert all(4 < sum(number // 100 == quarter for number in batch) < 46 for quarter in range(4))
