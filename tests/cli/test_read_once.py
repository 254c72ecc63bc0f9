"""A training run reads each index of the prepared store and each table once, and chooses the store once per list."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from epicsub.data import annotations, prepared
from epicsub.data.prepared import video

pytestmark = pytest.mark.xdist_group("cli")


def test_each_index_and_table_is_read_once(command, kitchens: Path, short: list[str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for part in ("annotations", "videos", "flow"):
        (tmp_path / "data" / part).symlink_to(kitchens / part)
    made = command("data", "prepare", "--data", tmp_path / "data", "--workers", 2)
    assert made.status == 0, made.err
    reads: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            path = words[0] if isinstance(words[0], Path) else Path()
            reads[" ".join((name, *path.parts[-3:]))] += 1
            return function(*words, **more)

        return call

    words = [*short, "train.evaluate_every=12", "train.average={name: ema, decay: 0.5, bn_batches: 1}", "seed=1"]
    with pytest.MonkeyPatch.context() as patch:
        for module in (prepared, video):
            patch.setattr(module, "read_index", counting("index", video.read_index))
        patch.setattr(annotations, "read_csv", counting("table", annotations.read_csv))
        patch.setattr("epicsub.training.loaders.choose_store", counting("choice", prepared.choose_store))
        run = ("train", "recipes/tiny/mmir_i3d.yaml", *words, "--data", tmp_path / "data", "--out", tmp_path / "run")
        done = command(*run, "evaluation.protocol=small.yaml")
    assert done.status == 0, done.err
    assert "rgb is read from prepared/" in done.err
    assert reads.pop("choice") == 2, "one for what is trained on, one for the validation list"
    assert sum(name.startswith("index ") for name in reads) > 10
    assert "table data annotations EPIC_100_train.csv" in reads
    assert {name: count for name, count in reads.items() if count > 1} == {}
