"""The data on the disk, checked and prepared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from epicsub.api import data_root, root_to_write
from epicsub.data.annotations import Segment, read_skip_list
from epicsub.data.check import DataReport
from epicsub.data.check import check_data as check_lists
from epicsub.data.prepared.plan import Measured, Plan, Settings, listed_segments, make_plans, measured_rate
from epicsub.data.prepared.plan import names_of_lists as lists_or_official
from epicsub.data.prepared.write import Summary, check_space, prepare_all
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.io import write_text
from epicsub.io.shards import Shard, missing_shards, refuse_missing
from epicsub.modality import FLOW, RGB, VideoModality

CLIP_SECONDS = 16 / 30
"""of the shipped recipes"""
SPARE = 1.1
"""the store is given a tenth more space than the estimate"""


def check_data(
    lists: Sequence[str] = (),
    *,
    data: str | Path | None = None,
    modality: VideoModality | None = None,
    deep: bool = False,
    compare: bool = False,
    skip: Path | None = None,
    clip_seconds: float = CLIP_SECONDS,
    workers: int | None = None,
    shard: Shard | None = None,
    merge: int | None = None,
) -> DataReport:
    """Compare annotations with files, and open every file that the lists need.

    Args:
        lists: tables under annotations/. Default: the official ones that are there.
        data: the data root. Default: $EPICSUB_DATA, else `data/`.
        modality: the only one to check. Default: rgb, and flow where there is any.
        deep: decode every frame; a killed check can be resumed.
        compare: read sampled seconds with every decoder that loads, and compare pictures and times.
        skip: file of narration ids to leave out.
        clip_seconds: segments shorter than that are counted.
        workers: processes; None for one per core.
        shard: check this share of the videos alone.
        merge: put so many shares of a deep check together.

    Returns:
        All that was found.

    Raises:
        DataError: a table or `clip_seconds` is wrong, or shares are missing.
    """
    root = data_root(data)
    listed = {name: root.segments(name) for name in lists_or_official(root, lists)}
    modalities = [modality] if modality else root.modalities()
    skipped = read_skip_list(skip) if skip else ()
    return check_lists(root, listed, modalities, clip_seconds, deep, workers, skipped, compare, shard, merge)


def write_skip_list(found: DataReport, path: Path) -> int:
    """Write the narration ids to skip: of the segments that cannot be read, and those that were skipped already.

    Args:
        found: what `check_data` returned.
        path: the file, for `data.skip` of a recipe.

    Returns:
        Number of segments in it.
    """
    lines = [f"{identity}  # {why}" for identity, why in found.unreadable.items()]
    lines += [f"{identity}  # left out before" for identity in found.skipped]
    write_text(path, "".join(f"{line}\n" for line in lines))
    return len(lines)


@dataclass(frozen=True)
class Preparation:
    """What the prepared store needs for some lists: entries to write and their size, measured on a few pieces."""

    root: DataRoot
    segments: list[Segment]
    skipped: int
    plans: list[Plan]
    """one per modality"""
    measured: dict[str, Measured]
    """modality -> bytes per second, of modalities with something to do"""
    shard: Shard | None = None
    """the share that the plans are; None for all"""

    def check_space(self) -> int:
        """Check that the store fits on its disk.

        Returns:
            Bytes that are free.

        Raises:
            DataError: fewer are free than the store will take.
        """
        sizes = (self.measured[p.modality].rate * sum(job.seconds for job in p.jobs) for p in self.plans if p.jobs)
        return check_space(self.root.path / "prepared", SPARE * sum(sizes))

    def run(self, workers: int | None = None) -> Iterator[Summary]:
        """Write the entries; a killed run can be resumed by preparing again.

        Args:
            workers: processes; None for one per core.

        Returns:
            What was written, modality by modality.

        Raises:
            DataError: while iterating: another process writes there, the disk is full, or videos are damaged.
        """
        part = "" if self.shard is None else f"{self.shard.number}-of-{self.shard.of}"
        return prepare_all(self.plans, self.root, workers, part)

    def refuse_missing(self, shards: int) -> None:
        """Check that all shares are done.

        Args:
            shards: number of shares.

        Raises:
            DataError: naming those that are not.
        """
        videos = sorted({segment.video_id for segment in self.segments})
        undone = {job.video_id for plan in self.plans for job in plan.jobs}
        refuse_missing(missing_shards(videos, undone, shards), shards, str(self.root.path / "prepared"))


def plan_preparation(
    lists: Sequence[str] = (),
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    modality: VideoModality | None = None,
    skip: Path | None = None,
    short_side: int | None = None,
    crf: int | None = None,
    flow_crf: int | None = None,
    margin: float = 0.5,
    overwrite: bool = False,
    shard: Shard | None = None,
) -> Preparation:
    """Plan the prepared store: the parts of the videos that segments need, small and fast to read.

    Args:
        lists: tables under annotations/. Default: the official ones that are there.
        data: the data root. Default: $EPICSUB_DATA, else `data/`.
        out: write to this data root, made of links to `data`, which cannot be written.
        modality: the only one to prepare. Default: rgb, and flow where there is any.
        skip: file of narration ids to leave out.
        short_side: pixels of the short side of rgb. Default: 256.
        crf: x264 quality of rgb, lower is better and larger. Default: 20.
        flow_crf: the same of flow.
        margin: seconds kept on both sides of each segment.
        overwrite: replace entries made with other settings.
        shard: prepare this share of the videos alone.

    Returns:
        The plan, which `run()` carries out.

    Raises:
        DataError: a table is wrong, an option is for a modality that is not prepared, or entries of other settings
            are there.
    """
    root = root_to_write(data, out, "prepared")
    settings = _settings_of([modality] if modality else root.modalities(), short_side, crf, flow_crf, margin)
    skipped = read_skip_list(skip) if skip else set()
    listed = listed_segments(root, lists)
    segments = [segment for segment in listed if segment.narration_id not in skipped]
    plans = make_plans(root, segments, settings, overwrite)
    if shard is not None:
        own = set(shard.share(sorted({segment.video_id for segment in segments})))
        plans = [replace(plan, jobs=[job for job in plan.jobs if job.video_id in own]) for plan in plans]
    measured = {plan.modality: measured_rate(plan.jobs) for plan in plans if plan.jobs}
    return Preparation(root, segments, len(listed) - len(segments), plans, measured, shard)


def _settings_of(
    modalities: Sequence[str], short_side: int | None, crf: int | None, flow_crf: int | None, margin: float
) -> dict[str, Settings]:
    """How each modality is stored."""
    options = {RGB.name: {"--short-side": short_side, "--crf": crf}, FLOW.name: {"--flow-crf": flow_crf}}
    problems = [
        f"{option} {value}: is for {modality}, but only {modalities[0]} is prepared; leave it out"
        for modality, values in options.items()
        for option, value in values.items()
        if value is not None and modality not in modalities
    ]
    if problems:
        raise DataError("\n".join(problems))
    given: dict[str, dict[str, Any]] = {RGB.name: {"short_side": short_side, "crf": crf}, FLOW.name: {"crf": flow_crf}}
    return {
        name: Settings(margin=margin, **{k: value for k, value in given.get(name, {}).items() if value is not None})
        for name in modalities
    }
