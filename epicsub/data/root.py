"""Where the files of a data root lie. The organisers' layouts are taken as they come.

ROOT/annotations/EPIC_100_train.csv
ROOT/videos/P01/P01_01.MP4            or P01/videos/P01_01.MP4, any case of the extension, .mkv .mov .avi too, or
                                      train/P01/P01_01.MP4 and test/P01/ as of EPIC-KITCHENS-55; frames likewise
ROOT/rgb_frames/P01/P01_01/           frame_0000000001.jpg ..., a folder or a tar of that name
ROOT/flow_frames/P01/P01_01/          u/frame_0000000001.jpg ..., v/..., a folder or a tar
ROOT/flow/P01/P01_01.mp4              flow computed by epicsub
ROOT/prepared/rgb/P01/P01_01.index    and .h264: the parts with segments, small and fast to read; prepared/flow/ too
ROOT/features/NAME/                   features of segments; a recipe reads them as data.features: features/NAME
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from epicsub.data.annotations import VIDEO_INFO, Segment, VideoInfo, read_segments, read_video_info
from epicsub.data.layout import VIDEO_ID, VideosThere, looked_for, participant, places_of, same_file, video_in
from epicsub.errors import DataError
from epicsub.io import user_path
from epicsub.io.files import is_folder, may_be_file, walk_files
from epicsub.modality import MODALITIES, RGB, VideoModality, video_modality
from epicsub.text import counted

T = TypeVar("T")


class DataRoot:
    """A data root. Nothing is read before it is asked for, and tables are read once."""

    def __init__(self, path: Path | str) -> None:
        """Name the folder; it is not read.

        Args:
            path: folder with annotations/, videos/ and the like.
        """
        self.path = user_path(path)
        self._tables: dict[str, tuple[tuple[int, int], Any]] = {}  # file's date and size, content

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": {}}  # workers get clips by segment, not by list

    def __repr__(self) -> str:
        return f"DataRoot({str(self.path)!r})"

    def annotations(self, name: str) -> Path:
        """Find a table under annotations/.

        Args:
            name: of the file, e.g. `EPIC_100_train.csv`.

        Returns:
            Path of the file.

        Raises:
            DataError: it is not there; the message lists what is.
        """
        folder = self.path / "annotations"
        file = folder / name
        if file.is_file():
            return file
        if not folder.is_dir():
            raise DataError(
                f"{folder}: no such folder, so no {name}; name the data root with --data DIR, data.root in the "
                "recipe or EPICSUB_DATA"
            )
        tables = (path for path in walk_files(folder, []) if path.suffix == ".csv" and not path.name.startswith("."))
        there = sorted(str(table.relative_to(folder)) for table in tables)
        raise DataError(f"{file}: no such file; there are: {', '.join(there) if there else 'no CSV files'}")

    def segments(self, name: str) -> list[Segment]:
        """Read a list of segments under annotations/, unless it has been read and has not changed since.

        Args:
            name: of the list, e.g. `EPIC_100_train.csv`.

        Returns:
            A new list, in the file's order.

        Raises:
            DataError: it is not there, or wrong; see `read_segments`.
        """
        return list(self._table(name, read_segments))

    def video_info(self) -> dict[str, VideoInfo]:
        """Read EPIC_100_video_info.csv, unless it has been read and has not changed since.

        Returns:
            Rows by video id.

        Raises:
            DataError: it is not there, or wrong; see `read_video_info`.
        """
        return self._table(VIDEO_INFO, read_video_info)

    def has_video_info(self) -> bool:
        """Look for EPIC_100_video_info.csv.

        Returns:
            True if it is there.
        """
        return (self.path / "annotations" / VIDEO_INFO).is_file()

    def video_ids(self) -> list[str]:
        """List the RGB video files.

        Returns:
            Their video ids, sorted.
        """
        return self.videos_there().video_ids

    def videos_there(self) -> VideosThere:
        """List what lies under videos/, through links too.

        Returns:
            The ids of the videos, sorted, and what else there is.
        """
        found: set[str] = set()
        strays: list[Path] = []
        denied: list[str] = []
        folder = self.path / RGB.video_folder
        for file in walk_files(folder, denied) if is_folder(folder) else ():
            read = self.video(file.stem) if VIDEO_ID.fullmatch(file.stem) else None
            if read is not None and (read == file or same_file(read, file)):
                found.add(file.stem)
            else:
                strays.append(file)
        return VideosThere(sorted(found), strays, denied)

    def modalities(self) -> list[VideoModality]:
        """List the modalities that can be read.

        Returns:
            Names of those that are recorded, and of those that are computed (flow) if there is a folder of them.
        """
        return [
            name
            for name in get_args(VideoModality)
            if not (row := MODALITIES[name]).command
            or any((self.path / folder).is_dir() for folder in (row.video_folder, row.frame_folder))
        ]

    def video(self, video_id: str, modality: str = RGB.name) -> Path | None:
        """Find the file that holds a modality of a video.

        Args:
            video_id: like P01_01.
            modality: name.

        Returns:
            Path of the video file, or None.
        """
        row = video_modality(modality)
        if row.command:
            return path if may_be_file(path := self.computed(video_id, modality)) else None
        for folder in places_of(self.path / row.video_folder, video_id):
            if file := video_in(folder, video_id):
                return file
        return None

    def computed(self, video_id: str, modality: str) -> Path:
        """Name the file that a computed modality of a video is written to.

        Args:
            video_id: like P01_01.
            modality: name, e.g. flow.

        Returns:
            Path of the file, which need not exist.
        """
        return self.path / video_modality(modality).video_folder / participant(video_id) / f"{video_id}.mp4"

    def frames(self, video_id: str, modality: str) -> Path | None:
        """Find the organisers' extracted frames of a video.

        Args:
            video_id: like P01_01.
            modality: name.

        Returns:
            Path of a folder or a tar file, or None.
        """
        for folder in places_of(self.path / video_modality(modality).frame_folder, video_id):
            if is_folder(folder / video_id):
                return folder / video_id
            if is_folder(folder) and may_be_file(tar := folder / f"{video_id}.tar"):
                return tar
        return None

    def prepared(self, video_id: str, modality: str) -> Path:
        """Name the index of an entry of the prepared store.

        Args:
            video_id: like P01_01.
            modality: name.

        Returns:
            Path of the index, which need not exist.
        """
        return self.path / "prepared" / modality / participant(video_id) / f"{video_id}.index"

    def found(self, video_id: str, modality: str) -> Path | None:
        """Find what a modality of a video is read from: a video file before extracted frames.

        Args:
            video_id: like P01_01.
            modality: name.

        Returns:
            Path of a video file, folder or tar file, or None.
        """
        return self.video(video_id, modality) or self.frames(video_id, modality)

    def usual_paths(self, video_id: str, modality: str) -> tuple[Path, Path]:
        """Name the usual paths of a modality of a video, for messages.

        Args:
            video_id: like P01_01.
            modality: name.

        Returns:
            Paths of the video file and of the folder of extracted frames.
        """
        row, kitchen = video_modality(modality), participant(video_id)
        video = self.path / row.video_folder / kitchen / f"{video_id}{'.mp4' if row.command else '.MP4'}"
        return video, self.path / row.frame_folder / kitchen / video_id

    def require(self, video_id: str, modality: str) -> Path:
        """Find what a modality of a video is read from, or fail.

        Args:
            video_id: like P01_01.
            modality: name.

        Returns:
            Path of a video file, folder or tar file.

        Raises:
            DataError: there is neither a video file nor extracted frames.
        """
        path = self.found(video_id, modality)
        if path is None:
            raise DataError(
                f"no {modality} for video {video_id} ({self.looked_for(video_id, modality)}); copy it there"
            )
        return path

    def missing(self, segments: Iterable[Segment], modalities: Sequence[str]) -> list[str]:
        """List the videos that lack a modality.

        Args:
            segments: of the videos.
            modalities: names.

        Returns:
            One line for each video and modality, with the number of segments lost.
        """
        counts = Counter(segment.video_id for segment in segments)
        return [
            f"{video_id}: no {modality} for {counted(count, 'segment', 'segments')} "
            f"({self.looked_for(video_id, modality)})"
            for video_id, count in sorted(counts.items())
            for modality in modalities
            if self.found(video_id, modality) is None
        ]

    def looked_for(self, video_id: str, modality: str) -> str:
        """Tell where a modality of a video was looked for.

        Args:
            video_id: like P01_01.
            modality: name.

        Returns:
            The places, those that cannot be listed with the reason, and files with a similar name.
        """
        row, (video, frames) = video_modality(modality), self.usual_paths(video_id, modality)
        folders = (video.parent,) if row.command else (*places_of(self.path / row.video_folder, video_id),)
        folders = (*folders, *places_of(self.path / row.frame_folder, video_id))
        return looked_for(video, frames, folders, computed=bool(row.command))

    def _table(self, name: str, read: Callable[[Path], T]) -> T:
        path = self.annotations(name)
        state = (path.stat().st_mtime_ns, path.stat().st_size)
        if self._tables.get(name, (None,))[0] != state:
            self._tables[name] = (state, read(path))
        content: T = self._tables[name][1]
        return content


def group_by_video(segments: Iterable[Segment]) -> dict[str, list[Segment]]:
    """Group segments by their video.

    Args:
        segments: of any videos.

    Returns:
        Video id -> its segments, in their order.
    """
    by_video: dict[str, list[Segment]] = {}
    for segment in segments:
        by_video.setdefault(segment.video_id, []).append(segment)
    return by_video
