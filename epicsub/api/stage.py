"""What a recipe needs of the prepared store or of features, copied to a disk of the node."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from epicsub.api import data_root
from epicsub.data.boxes.store import boxes_path
from epicsub.data.root import DataRoot
from epicsub.errors import DataError, EpicsubError
from epicsub.io import atomic_write, hold_folder, remove_leftovers, sha256, user_path
from epicsub.io.files import walk_files
from epicsub.modality import with_files
from epicsub.progress import track
from epicsub.recipe import Recipe, load_recipe
from epicsub.text import join_problems, name_some, sized
from epicsub.training.loaders import skipped_ids, source_segments, target_segments
from epicsub.validation import load_protocol

CHUNK = 1 << 22


@dataclass(frozen=True)
class Staging:
    """Files to copy, and where to."""

    root: DataRoot
    out: Path
    files: list[Path]
    """Under the root, what is not there yet."""
    size: int
    """Bytes of them."""
    kept: int
    """Files that are there already, of the same size and date."""
    kept_size: int

    def check_space(self) -> int:
        """Check that the files fit on the disk.

        Returns:
            Bytes that are free.

        Raises:
            DataError: fewer are free than the files take.
        """
        there = next(path for path in (self.out.absolute(), *self.out.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free
        if free < self.size:
            raise DataError(
                f"{there}: {sized(free)} are free, the files take {sized(self.size)}: name a larger disk, or a recipe "
                "of fewer modalities; nothing was copied"
            )
        return free

    def run(self) -> None:
        """Copy the files, each whole or not at all, and read each again to compare; a killed run can be resumed.

        Raises:
            DataError: a copy is not what was read, or another process copies there.
        """
        with hold_folder(self.out):
            remove_leftovers(self.out.rglob(".*"), *{path.suffix for path in self.files})
            label = f"copying to {self.out}, megabytes"
            sizes = {path: path.stat().st_size / 1e6 for path in self.files}
            for path in track(self.files, label, round(self.size / 1e6), weight=sizes.__getitem__):
                _copy(path, self.out / path.relative_to(self.root.path))


def plan_staging(
    recipe: str | Path, out: str | Path, overrides: Sequence[str] = (), *, data: str | Path | None = None
) -> Staging:
    """Find what a recipe reads: tables, entries of the prepared store or features, boxes; no videos.

    Args:
        recipe: name or path.
        out: folder to copy to, which becomes a data root.
        overrides: settings to change, `KEY=VALUE`.
        data: the data root. Default: the recipe's, $EPICSUB_DATA, else `data/`.

    Returns:
        What is to be copied.

    Raises:
        DataError: something is not there; all that is missing is named.
    """
    loaded = load_recipe(recipe, overrides).recipe
    root, place = data_root(data, loaded.data.root), user_path(out)
    if place.resolve() == root.path.resolve():
        raise DataError(f"{place}: is the data root itself; name a folder on the node's own disk")
    files = sorted({*walk_files(root.path / "annotations", []), *_needed(loaded, root)})
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        how = "`epicsub data prepare` and `epicsub data boxes` make them" if not loaded.data.features else "make them"
        raise DataError(f"{root.path}: the recipe reads what is not there: {name_some(missing, 10)}; {how}")
    there = {path for path in files if _is_copied(path, place / path.relative_to(root.path))}
    to_do = [path for path in files if path not in there]
    sizes = [sum(path.stat().st_size for path in group) for group in (to_do, there)]
    return Staging(root, place, to_do, sizes[0], len(there), sizes[1])


def _needed(recipe: Recipe, root: DataRoot) -> Iterator[Path]:
    """Files of the segments that a recipe trains on, adapts to and is scored on."""
    if recipe.data.features:
        for place in dict.fromkeys(recipe.data.features.values()):
            folder = root.path / user_path(place)
            if not folder.is_relative_to(root.path):
                raise DataError(
                    f"{folder}: features outside the data root are read from where they are; copy them there"
                )
            yield from walk_files(folder, []) if folder.is_dir() else [folder]
        return
    protocol = load_protocol(Path(recipe.evaluation.protocol))
    segments, problems = [], []
    try:
        segments += source_segments(recipe, root)
        segments += [segment for part in target_segments(recipe, root) for segment in part]
    except EpicsubError as error:
        problems.append(str(error))
    for name in (protocol.validation.list, protocol.test.list):
        if (root.path / "annotations" / name).is_file():
            segments += root.segments(name)
    if problems:
        raise DataError(join_problems(problems, "nothing was copied"))
    skipped = skipped_ids(recipe)
    for video_id in sorted({segment.video_id for segment in segments if segment.narration_id not in skipped}):
        for modality in with_files(recipe.data.modalities):
            index = root.prepared(video_id, modality)
            yield from (index, index.with_suffix(".h264"))
        boxes = boxes_path(root.path, video_id)
        if recipe.data.boxes and (recipe.data.boxes.missing == "stop" or boxes.is_file()):
            yield boxes


def _is_copied(path: Path, target: Path) -> bool:
    """Whether a copy of the same size and date is there."""
    if not target.is_file():
        return False
    one, other = path.stat(), target.stat()
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _copy(path: Path, target: Path) -> None:
    digest = hashlib.sha256()
    with atomic_write(target) as temporary, open(path, "rb") as source, open(temporary, "wb") as copy:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    if sha256(target) != digest.hexdigest():
        target.unlink()
        raise DataError(f"{target}: what was read back is not what was written; the disk is damaged, name another one")
    state = path.stat()
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
