"""The layouts of videos and of folders of frames under a data root, and what is found where no layout leads.

Of a folder such as ROOT/videos: P01/P01_01.MP4, P01/videos/P01_01.MP4, P01_01.MP4, and EPIC-KITCHENS-55's
train/P01/P01_01.MP4 and test/P01/P01_01.MP4.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from epicsub.io.files import is_folder, os_reason, printable
from epicsub.text import counted, name_some

VIDEO_ID = re.compile(r"P\d\d_1?\d\d")
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi")
EPIC_55_FOLDERS = ("train", "test")
SHOWN = 20


class VideosThere(NamedTuple):
    """What lies under videos/."""

    video_ids: list[str]
    strays: list[Path]
    """Files that no video id leads to; nothing reads, changes or deletes them."""
    denied: list[str]
    """A line for each folder that cannot be listed."""

    def notes(self) -> list[str]:
        """Tell what is passed over.

        Returns:
            Lines for the user.
        """
        lines = list(self.denied)
        if self.strays:
            lines.append(
                f"{counted(len(self.strays), 'file is', 'files are')} left alone, because name or place is not that of "
                f"a video, such as P01/P01_01.MP4: {name_some(map(printable, self.strays), SHOWN)}"
            )
        return lines


def participant(video_id: str) -> str:
    """The kitchen of a video.

    Args:
        video_id: like P01_01.

    Returns:
        Like P01.
    """
    return video_id.split("_", maxsplit=1)[0]


def places_of(top: Path, video_id: str) -> Iterator[Path]:
    """List the folders that a video's file or frames may lie in.

    Args:
        top: such as ROOT/videos.
        video_id: like P01_01.

    Yields:
        Folders, there or not, the usual one first.
    """
    kitchen = participant(video_id)
    yield from (top / kitchen, top / kitchen / top.name, top)
    yield from (top / split / kitchen for split in EPIC_55_FOLDERS)


def video_in(folder: Path, video_id: str) -> Path | None:
    """Find the file of a video.

    Args:
        folder: where to look, not below it.
        video_id: like P01_01.

    Returns:
        The file of that name with a suffix of `VIDEO_SUFFIXES` in any case, the earlier one first; None where there is
        none, or the folder cannot be listed (`looked_for` says so).
    """
    try:
        named = [path for path in sorted(folder.iterdir()) if path.stem == video_id]
    except OSError:
        return None
    files = [path for path in named if path.suffix.lower() in VIDEO_SUFFIXES and not is_folder(path)]
    return min(files, key=lambda path: VIDEO_SUFFIXES.index(path.suffix.lower()), default=None)


def same_file(one: Path, other: Path) -> bool:
    """Tell if two paths lead to one file.

    Args:
        one: a path.
        other: another.

    Returns:
        False too where one is a link without a target.
    """
    try:
        return one.samefile(other)
    except OSError:
        return False


def looked_for(video: Path, frames: Path, folders: Iterable[Path], computed: bool) -> str:
    """Tell where a video was looked for.

    Args:
        video: its usual path.
        frames: the usual path of its frames.
        folders: all that were looked into.
        computed: epicsub writes it, to its usual path alone.

    Returns:
        The places, those that cannot be listed with the reason, and files with a similar name.
    """
    kitchen, near, denied = video.parent.name, [], []
    similar = re.compile(re.escape(video.stem) + r"(?!\d)")
    for folder in folders:
        try:
            near += sorted(printable(path) for path in folder.iterdir() if similar.search(path.name))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            denied.append(f"{folder} cannot be listed: {os_reason(error)}")
    top, splits = video.parents[1].name, " and ".join(f"{split}/{kitchen}/" for split in EPIC_55_FOLDERS)
    also = f" ({' '.join(VIDEO_SUFFIXES)}; in {top}/ itself and its {kitchen}/{top}/, {splits} too)"
    text = f"looked for {video}{'' if computed else also} or {frames}/ or .tar"
    return "; ".join([text, *denied, *([f"there is {name_some(near)}"] if near else [])])
