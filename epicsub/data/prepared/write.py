"""Making the prepared store: one entry per video and modality, in parallel, to be killed and run again at any moment.

ROOT/prepared/rgb/P01/P01_01.h264 and .index; see `index`. An entry is whole or it is not there.
"""

import errno
import math
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from epicsub.data.decode import last_time
from epicsub.data.layout import VIDEO_ID
from epicsub.data.prepared.encode import open_source
from epicsub.data.prepared.plan import Interval, Job, Plan
from epicsub.data.prepared.video import write_entry
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.io import hold_folder, remove_leftovers
from epicsub.io.files import os_reason
from epicsub.modality import MODALITIES
from epicsub.progress import cores, in_processes, track
from epicsub.text import counted, sized

LONGEST_STRETCH = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """Bytes written for a job, or why there is no entry. `full`: the disk is, so others will fail too."""

    job: Job
    size: int = 0
    problem: str | None = None
    full: bool = False


class BadVideosError(DataError):
    """Some videos cannot be prepared; all others are done."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Entries made of a modality, bytes of them, seconds taken."""

    modality: str
    made: int
    size: int
    seconds: float


def check_space(folder: Path, needed: float) -> int:
    """Check that the store fits on its disk.

    Args:
        folder: where the store will lie, there or not.
        needed: bytes that it takes.

    Returns:
        Bytes that are free.

    Raises:
        DataError: fewer than `needed` are free.
    """
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder}: {sized(free)} are free, the store will take about {sized(needed)}: make room, put "
            "prepared/ on a larger disk, or choose fewer lists (--list) or a higher --crf; nothing was started"
        )
    return free


def prepare(plan: Plan, root: DataRoot, workers: int | None = None, part: str = "") -> Summary:
    """Carry out a plan; a video that fails does not keep the others from being done.

    Args:
        plan: of one modality.
        root: the data root.
        workers: processes; None for one per core.
        part: name of the share that the plan is, where it is one.

    Returns:
        What was made.

    Raises:
        DataError: another process writes there, or the disk is full.
        BadVideosError: some videos failed; all others are done.
    """
    began = time.monotonic()
    folder = root.path / "prepared" / plan.modality
    done: list[Outcome] = []
    total = sum(job.seconds for job in plan.jobs)
    own = {job.video_id for job in plan.jobs} if part else None
    with hold_folder(folder, part):
        _remove_leftovers(folder, own)
        label = f"preparing {plan.modality}, seconds of video"
        with closing(in_processes(_prepare_one, plan.jobs, workers or cores())) as outcomes:
            for outcome in track(outcomes, label, round(total), weight=lambda outcome: outcome.job.seconds):
                done.append(outcome)
                if outcome.full:
                    break
        _remove_leftovers(folder, own)
    if done and done[-1].full:
        raise DataError(
            f"{done[-1].problem}\n{len([o for o in done if not o.problem])} of "
            f"{counted(len(plan.jobs), 'video', 'videos')} done and kept, nothing broken is left behind: make "
            "room and run the same command again"
        )
    problems = sorted(outcome.problem for outcome in done if outcome.problem)
    if problems:
        raise BadVideosError(
            f"no prepared {plan.modality} for {len(problems)} of {counted(len(plan.jobs), 'video', 'videos')}, the "
            "others are done; fetch these again, or leave their segments out (`epicsub data check --write-skip FILE`, "
            "then --skip FILE):\n" + "\n".join(problems)
        )
    return Summary(plan.modality, len(done), sum(outcome.size for outcome in done), time.monotonic() - began)


def prepare_all(plans: Iterable[Plan], root: DataRoot, workers: int | None = None, part: str = "") -> Iterator[Summary]:
    """Carry out plans of several modalities; bad videos of one do not keep the next from being done.

    Args:
        plans: one per modality.
        root: the data root.
        workers: as `prepare` takes them.
        part: name of the share that the plans are.

    Yields:
        What was made of each modality.

    Raises:
        DataError: at the end, what went wrong; see `prepare`.
    """
    problems = []
    for plan in plans:
        try:
            yield prepare(plan, root, workers, part) if plan.jobs else Summary(plan.modality, 0, 0, 0.0)
        except BadVideosError as error:
            problems.append(str(error))
        except DataError as error:
            problems.append(str(error))
            break
    if problems:
        raise DataError("\n".join(problems))


def _prepare_one(job: Job) -> Outcome:
    """Write one entry."""
    root = DataRoot(job.root)
    path = root.prepared(job.video_id, job.modality)
    try:
        source = open_source(root, job.video_id, job.modality, job.settings.short_side)
        first, last = source.note.get("first", 0.0), last_time(source.note["duration"], source.note["fps"])
        if job.begins < first:
            raise DataError(
                f"{root.require(job.video_id, job.modality)}: its first picture that decodes is at {first:.3f} s, a "
                f"segment begins at {job.begins:.3f} s: cut off at its beginning, fetch it again"
            )
        cut = dict.fromkeys((min(max(start, first), last), min(stop, last)) for start, stop in job.intervals)
        stretches = (source.pictures(*piece) for start, stop in cut for piece in _pieces(start, stop))
        note = source.note | {"crf": job.settings.crf, "video_id": job.video_id}
        if not MODALITIES[job.modality].keeps_size:
            note["short_side"] = job.settings.short_side
        size = write_entry(path, stretches, job.settings.crf, note)
        source.close()
    except DataError as error:
        return Outcome(job, problem=f"{job.video_id}: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return Outcome(job, problem=f"{job.video_id}: {error.filename or path}: {os_reason(error)}")
        return Outcome(job, problem=f"{path}: the disk is full ({error.strerror})", full=True)
    return Outcome(job, size)


def _pieces(start: float, stop: float) -> list[Interval]:
    """An interval in equal parts of `LONGEST_STRETCH` at most: reading looks through the table of a whole stretch."""
    count = max(1, math.ceil((stop - start) / LONGEST_STRETCH))
    edges = [start + (stop - start) * part / count for part in range(count + 1)]
    edges[-1] = stop
    return list(pairwise(edges))


def _remove_leftovers(folder: Path, own: set[str] | None) -> None:
    """A run that was killed leaves its temporary files behind, or pictures whose index it did not come to write.

    A share of the work clears up after its own videos alone: others are being written.
    """

    def is_own(path: Path) -> bool:
        return own is None or path.name.lstrip(".").partition(".")[0] in own

    remove_leftovers(filter(is_own, folder.glob("*/.*")), ".index", ".h264")
    for path in filter(is_own, folder.glob("*/P*.h264")):
        if VIDEO_ID.fullmatch(path.stem) and not path.with_suffix(".index").exists():
            path.unlink()
