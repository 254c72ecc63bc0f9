"""What the policy of a pre-training by order did: probability and error of each group, and clips shuffled by it."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from epicsub.api import data_root
from epicsub.errors import TrainingError
from epicsub.io import user_path
from epicsub.modality import MODALITIES
from epicsub.pretext.order import OrderTask, draw_orders, shuffled_pieces, whole_clip
from epicsub.pretext.permutations import CHUNKS
from epicsub.recipe import Recipe, recipe_from_dict
from epicsub.training.checkpoint import load_checkpoint
from epicsub.training.loaders import Domains, store_of, target_segments
from epicsub.training.order_items import hold_out, read_items, with_gaps
from epicsub.training.order_state import pretext_of, shuffle_of, tasks_of
from epicsub.training.run_folder import read_metrics

OUTPUTS = Path("outputs")


class Shown(NamedTuple):
    """A clip shuffled by an order of a group."""

    title: str
    frames: list[np.ndarray]
    """(S, S, 3) uint8: the first frame of each chunk, or one frame of the shuffled tiles."""


def write_order_report(
    run: str | Path, *, out: Path | None = None, clips: int = 3, data: str | Path | None = None
) -> list[Path]:
    """Draw the course of a pre-training, finished or not, and clips shuffled by orders of each group.

    Args:
        run: folder of a pre-training, or its name under outputs/.
        out: folder of the files. Default: order/ in the run's folder.
        clips: held-out clips on the sheet, per group.
        data: the data root. Default: that of the recipe, $EPICSUB_DATA, else `data/`.

    Returns:
        curves.png (probability of each group, where a policy chose, and error of each group, by step), and per task
        TASK.png (shuffled clips by group, with the group's last error).

    Raises:
        EpicsubError: matplotlib is missing.
        TrainingError: no such run, or one that is no pre-training.
        DataError: a clip cannot be read.
    """
    from epicsub.studies import pictures  # matplotlib is optional (epicsub[studies])

    folder = next((path for path in (user_path(run), OUTPUTS / run) if (path / "last.pth").is_file()), None)
    if folder is None:
        raise TrainingError(
            f"{run}: no folder of a run, and no name of one in {OUTPUTS}/: `epicsub pretrain` makes one"
        )
    checkpoint = load_checkpoint(folder / "last.pth", for_resuming=False)
    recipe = recipe_from_dict(checkpoint.recipe, str(folder / "last.pth"))
    if recipe.pretext is None:
        raise TrainingError(f"{folder}: is no pre-training by order; `epicsub bench agents` draws runs with agents")
    checks = [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "order"]
    if not checks:
        raise TrainingError(f"{folder / 'metrics.jsonl'}: holds no check of the fixed items; pre-train it anew")
    out, tasks = user_path(out or folder / "order"), tasks_of(recipe)
    pictures.group_curves(checks, [task.name for task in tasks], out / "curves.png")
    paths = [out / "curves.png"]
    for task, rows in zip(tasks, _shuffled(recipe, tasks, checks[-1], clips, data), strict=True):
        paths.append(out / f"{task.name}.png")
        pictures.shuffled_clips(rows, paths[-1])
    return paths


def _shuffled(
    recipe: Recipe, tasks: list[OrderTask], last: dict[str, Any], clips: int, data: str | Path | None
) -> list[list[list[Shown]]]:
    """For each task, a row of shuffled clips per group."""
    root = data_root(data, recipe.data.root)
    lists = target_segments(recipe, root)
    segments = [segment for part in lists for segment in part]
    store = store_of(with_gaps(recipe), root, segments)
    domains = Domains(root=root, source=[], target=lists, store=store, lists={})
    few = pretext_of(recipe).model_copy(update={"items": clips})
    shuffle, small = shuffle_of(recipe), recipe.model_copy(update={"pretext": few})
    items = read_items(small, domains, hold_out(lists, few.held_out), tasks, shuffle)
    name, clip_VCRSS = next(iter(items.clips.items()))
    found = []
    for task in tasks:
        generator, rows = torch.Generator().manual_seed(recipe.seed), []
        for group in range(task.groups):
            members = (task.group_N == group).nonzero()[:, 0]
            label_V = members[torch.arange(clips) % len(members)]
            draw = draw_orders(task, label_V, shuffle, generator)
            pieces = shuffled_pieces(task, clip_VCRSS, draw, shuffle, is_color=MODALITIES[name].is_color)
            whole_VCTSS = whole_clip(task, pieces, clip_VCRSS.shape[-1]).clamp(0, 255)
            every = whole_VCTSS.shape[2] // CHUNKS if task.name == "temporal" else whole_VCTSS.shape[2]
            error = last[f"{task.name}/error_{group}"]
            rows.append(
                [
                    Shown(
                        f"group {group}, error {error:.2f}: {' '.join(map(str, order.tolist()))}",
                        [_picture(frame_CSS) for frame_CSS in whole_CTSS[:, ::every].unbind(1)],
                    )
                    for whole_CTSS, order in zip(whole_VCTSS, draw.order_Bn, strict=True)
                ]
            )
        found.append(rows)
    return found


def _picture(frame_CSS: torch.Tensor) -> np.ndarray:
    """(S, S, 3) uint8; of motion the part to the right, grey."""
    three = frame_CSS if len(frame_CSS) == 3 else frame_CSS[:1].expand(3, -1, -1)
    return np.asarray(three.permute(1, 2, 0).round().to(torch.uint8).numpy())
