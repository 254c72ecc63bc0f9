"""What this machine and its data root have, and what a recipe finds there."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from epicsub.api import data_root
from epicsub.constants import __version__
from epicsub.data.annotations import SEGMENT_COLUMNS, Segment
from epicsub.data.boxes.convert import SOURCE_FOLDER, find_sources
from epicsub.data.boxes.coverage import missing_boxes
from epicsub.data.boxes.store import FOLDER, boxes_path
from epicsub.data.decode.reader import DECODERS, choose_decoder, why_not
from epicsub.data.features.store import INDEX
from epicsub.data.features.store import read_index as read_features
from epicsub.data.prepared import Indexes, find_incomplete, read_index
from epicsub.data.root import DataRoot, group_by_video
from epicsub.errors import DataError
from epicsub.io.files import may_be_file, walk_files
from epicsub.modality import MODALITIES, VideoModality, with_files
from epicsub.recipe import Recipe, load_recipe
from epicsub.text import counted
from epicsub.training.loaders import reading_notes, skipped_ids, source_segments, store_of, target_segments
from epicsub.training.preflight import missing_files
from epicsub.training.slurm import job_lines, of_step


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the data: videos that are there of all that the lists name, segments they cover, bytes.

    External features are not opened: their `videos` and `segments` are None.
    """

    name: str
    videos: int | None
    segments: int | None
    size: int | None  # None: a folder of single frames, not added up


@dataclass(frozen=True)
class DataStatus:
    """What a data root holds, and what a recipe finds there."""

    root: DataRoot
    lists: dict[str, int]
    """segments of each list"""
    videos: int
    """of all lists together"""
    segments: int
    """of all lists together"""
    forms: list[Form]
    notes: list[str]
    """on files under videos/ that are passed over"""
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
    folder = root.path / "annotations"
    lists = {path.name: root.segments(path.name) for path in sorted(folder.glob("[!.]*.csv")) if _is_segment_list(path)}
    every = {segment.narration_id: segment for segments in lists.values() for segment in segments}
    by_video = group_by_video(every.values())
    modalities = [name for name in get_args(VideoModality) if (root.path / "prepared" / name).is_dir()]
    paths = {(name, video_id): root.prepared(video_id, name) for name in modalities for video_id in by_video}
    indexes = {key: index for key, path in paths.items() if (index := read_index(path)) is not None}
    prepared = (_prepared(name, indexes, by_video) for name in modalities)
    return DataStatus(
        root,
        lists={name: len(segments) for name, segments in lists.items()},
        videos=len(by_video),
        segments=len(every),
        forms=[*_originals(root, by_video), *_boxes(root, by_video), *prepared, *_features(root, every)],
        notes=root.videos_there().notes(),
        recipe_lines=_for_recipe(loaded, root, indexes) if loaded else [],
    )


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
        lines += _needs_of(root, segments, with_files(recipe.data.modalities), store.indexes)
        if recipe.data.boxes:
            lines += missing_boxes(root.path, segments) or ["boxes: complete"]
        return [*lines, store.note]
    except DataError as error:
        return str(error).splitlines()


def doctor(data: str | Path | None = None, recipe: str | Path | None = None) -> list[str]:
    """Describe the machine, as `epicsub doctor` prints it.

    Args:
        data: the data root. Default: $EPICSUB_DATA, else `data/`.
        recipe: name or path; what of this machine and of Slurm's job fits it.

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
    lines += job_lines()
    return lines if recipe is None else [*lines, *_fit_lines(load_recipe(recipe).recipe)]


def _fit_lines(recipe: Recipe) -> Iterator[str]:
    """What of the processes that are here fits a recipe."""
    step = of_step()
    count = step.processes if step else max(1, torch.cuda.device_count())
    where = "processes that srun has started" if step else "devices of this machine"
    for number, stage in enumerate(recipe.train.stages, 1):
        for name, batch in (("labelled", stage.source_batch), ("unlabelled", stage.target_batch)):
            if not batch:
                continue
            share, rest = divmod(batch, count)
            fits = (
                f"{share} each" if not rest else f"{share} or {share + 1} each, so that {count - rest} wait for {rest}"
            )
            fits = fits if share else f"fewer than {count}: ask for at most {batch}"
            yield f"{recipe.name}, stage {number}: {batch} {name} clips of a step over {count} {where}: {fits}"


def _data(data: str | Path | None) -> str:
    root = data_root(data)
    if not root.path.is_dir():
        return "no such folder; set it with --data or $EPICSUB_DATA"
    lists = len(list((root.path / "annotations").glob("[!.]*.csv")))
    there = root.videos_there()
    text = f"{lists} annotation tables, {len(there.video_ids)} videos (`epicsub data status` for details)"
    return "\n".join([text, *there.notes()])


def _needs_of(root: DataRoot, segments: Sequence[Segment], modalities: Iterable[str], known: Indexes) -> list[str]:
    """A line per modality: what a run lacks in the originals, and what in the prepared store."""
    indexes = dict(known)
    videos = {segment.video_id for segment in segments}
    all_videos = counted(len(videos), "video", "videos")
    lines = []
    for modality in modalities:
        gone = {video_id for video_id in videos if root.found(video_id, modality) is None}
        lost = sum(segment.video_id in gone for segment in segments)
        unprepared, _ = find_incomplete(root, segments, modality, indexes)
        originals = (
            f"lack {len(gone)} of {all_videos} ({lost} of {counted(len(segments), 'segment', 'segments')})"
            if gone
            else "complete"
        )
        stored = f"lacks {len(unprepared)} of {all_videos}" if unprepared else "complete"
        lines.append(f"{modality}: originals {originals}, prepared store {stored}")
    return lines


def _originals(root: DataRoot, by_video: Mapping[str, Sequence[Segment]]) -> Iterator[Form]:
    """One for each folder of video files, then of extracted frames, that is there."""
    rows = [MODALITIES[name] for name in get_args(VideoModality)]
    kinds: list[tuple[str, str, Callable[[str, str], Path | None]]]
    kinds = [(row.video_folder, row.name, root.video) for row in rows]
    kinds += [(row.frame_folder, row.name, root.frames) for row in rows]
    for folder, modality, find in kinds:
        if (root.path / folder).is_dir():
            found = {video_id: path for video_id in by_video if (path := find(video_id, modality)) is not None}
            files = [path for path in found.values() if path.is_file()]
            covered = sum(len(by_video[video_id]) for video_id in found)
            yield Form(folder, len(found), covered, _size(files) if len(files) == len(found) else None)


def _boxes(root: DataRoot, by_video: Mapping[str, Sequence[Segment]]) -> Iterator[Form]:
    """One for the organisers' files, one for boxes/, where they are there."""
    found = {SOURCE_FOLDER: {name: paths[0] for name, paths in find_sources(root.path).items() if name in by_video}}
    stored = {name: boxes_path(root.path, name) for name in by_video}
    found[FOLDER] = {name: path for name, path in stored.items() if may_be_file(path)}
    for folder, files in found.items():
        if files or (root.path / folder).is_dir():
            covered = sum(len(by_video[video_id]) for video_id in files)
            yield Form(folder, len(files), covered, _size(files.values()))


def _prepared(modality: str, indexes: Indexes, by_video: Mapping[str, Sequence[Segment]]) -> Form:
    there = {video_id: index for (name, video_id), index in indexes.items() if name == modality}
    covered = sum(
        index.covers(segment.start, segment.stop) for video_id, index in there.items() for segment in by_video[video_id]
    )
    return Form(f"prepared/{modality}", len(there), covered, sum(index.note["bytes"] for index in there.values()))


def _features(root: DataRoot, every: Mapping[str, Segment]) -> Iterator[Form]:
    """One for each folder or file under features/."""
    folder = root.path / "features"
    for place in sorted(folder.glob("[!.]*")):
        size = _size(walk_files(place, []) if place.is_dir() else [place])
        if not (place / INDEX).is_file():
            yield Form(f"features/{place.name}", None, None, size)
            continue
        listed = {name for shard in read_features(place)["shards"] for name in shard["narration_ids"]} & every.keys()
        yield Form(f"features/{place.name}", len({every[name].video_id for name in listed}), len(listed), size)


def _size(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        with suppress(OSError):  # a link without a target
            total += path.stat().st_size
    return total


def _is_segment_list(path: Path) -> bool:
    with open(path, encoding="utf-8-sig", errors="replace") as handle:
        return set(SEGMENT_COLUMNS) <= set(handle.readline().strip().split(","))
