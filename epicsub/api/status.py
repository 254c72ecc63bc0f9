"""What this machine and its data root have, and what a recipe finds there."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from epicsub.api.common import data_root
from epicsub.constants import __version__
from epicsub.data.check.status import Status, needs_of, status_of
from epicsub.data.decode.reader import DECODERS, choose_decoder, why_not
from epicsub.data.prepared.index import Indexes
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.recipe import Recipe, load_recipe
from epicsub.text import counted
from epicsub.training.loaders import reading_notes, skipped_ids, source_segments, store_of, target_segments
from epicsub.training.preflight import missing_files


@dataclass(frozen=True)
class DataStatus:
    """What a data root holds, and what a recipe finds there."""

    root: DataRoot
    found: Status
    recipe_lines: list[str]
    """for the recipe: its segments, what is missing, what it reads; empty without a recipe"""


def data_status(recipe: str | Path | None = None, *, data: str | Path | None = None) -> DataStatus:
    """Count and measure the data; nothing is decoded.

    Args:
        recipe: name or path of a recipe that is to run on the data.
        data: the data root. Default: that of the recipe, $EPICSUB_DATA, else `data/`.

    Returns:
        Lists, each form of the data, and what the recipe finds.

    Raises:
        EpicsubError: the recipe or a list is not valid.
    """
    loaded = load_recipe(recipe).recipe if recipe else None
    root = data_root(data, loaded.data.root if loaded else None)
    found = status_of(root)
    return DataStatus(root, found, _for_recipe(loaded, root, found.indexes) if loaded else [])


def _for_recipe(recipe: Recipe, root: DataRoot, known: Indexes) -> list[str]:
    """What a run of the recipe would find."""
    try:
        segments = [*source_segments(recipe, root), *(s for part in target_segments(recipe, root) for s in part)]
        lists = ", ".join((*recipe.data.source, *recipe.data.target))
        lines = [f"{counted(len(segments), 'segment', 'segments')} in {lists}"]
        if recipe.data.skip:
            lines.append(f"{counted(len(skipped_ids(recipe)), 'segment', 'segments')} skipped ({recipe.data.skip})")
        store = store_of(recipe, root, segments, known)
        if recipe.data.features:
            notes = reading_notes(recipe, root, segments, store)
            return [*lines, *notes, *missing_files(recipe, root, segments, store)]
        return [*lines, *needs_of(root, segments, recipe.data.modalities, store.indexes), store.note]
    except DataError as error:
        return str(error).splitlines()


def doctor(data: str | Path | None = None) -> list[str]:
    """Describe the machine, as `epicsub doctor` prints it.

    Args:
        data: the data root. Default: $EPICSUB_DATA, else `data/`.

    Returns:
        Lines on versions, devices, decoders, the data root and Slurm; where something is missing, what to do about it.
    """
    lines = [f"epicsub {__version__}, torch {torch.__version__}, {os.cpu_count()} cores"]
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        lines.append(f"GPU {index}: {torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
    if torch.backends.mps.is_available():
        lines.append("GPU: mps")
    elif not torch.cuda.is_available():
        lines.append("GPU: none available to torch; recipes in recipes/tiny/ run on a CPU, the others need a GPU")
    for name in DECODERS:
        reason = why_not(name)
        lines.append(f"decoder {name}: " + (f"not available ({reason})" if reason else "available"))
    lines.append(f"decoder auto: {choose_decoder('auto')}")
    lines.append(f"data root {data_root(data).path}: {_data(data)}")
    lines.append(f"Slurm: {shutil.which('sbatch') or 'sbatch not found'}")
    return lines


def _data(data: str | Path | None) -> str:
    root = data_root(data)
    if not root.path.is_dir():
        return "no such folder; set it with --data or $EPICSUB_DATA"
    lists = len(list((root.path / "annotations").glob("*.csv")))
    return f"{lists} annotation tables, {len(root.video_ids())} videos (`epicsub data status` for details)"
