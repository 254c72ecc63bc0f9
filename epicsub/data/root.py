"""Where the files of a data root lie. The organisers' layouts are taken as they come.

ROOT/annotations/EPIC_100_train.csv
ROOT/videos/P01/P01_01.MP4            or P01/videos/P01_01.MP4, any case of the extension, .mkv .mov .avi too
ROOT/rgb_frames/P01/P01_01/           frame_0000000001.jpg ..., a folder or a tar of that name
ROOT/flow_frames/P01/P01_01/          u/frame_0000000001.jpg ..., v/..., a folder or a tar
ROOT/flow/P01/P01_01.mp4              flow computed by epicsub
ROOT/prepared/rgb/P01/P01_01.index    and .h264: the parts with segments, small and fast to read; prepared/flow/ too
ROOT/features/NAME/                   features of segments; a recipe reads them as data.features: features/NAME
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from epicsub.data.annotations import Segment
from epicsub.errors import DataError
from epicsub.text import counted

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi")


class DataRoot:
    """A data root; nothing is read before it is asked for."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"DataRoot({str(self.path)!r})"

    def annotations(self, name: str) -> Path:
        """Path of a table under annotations/, e.g. `EPIC_100_train.csv`.

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
        there = sorted(str(table.relative_to(folder)) for table in folder.rglob("*.csv"))
        raise DataError(f"{file}: no such file; there are: {', '.join(there) if there else 'no CSV files'}")

    def video_ids(self) -> list[str]:
        """Ids of all video files under videos/, sorted."""
        files = (file for file in (self.path / "videos").rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES)
        return sorted({file.stem for file in files})

    def modalities(self) -> list[str]:
        """rgb, and flow where there is any: epicsub's own or extracted frames."""
        flow = any((self.path / name).is_dir() for name in ("flow", "flow_frames"))
        return ["rgb", "flow"] if flow else ["rgb"]

    def video(self, video_id: str) -> Path | None:
        """The video file, or None."""
        kitchen = self.path / "videos" / _participant(video_id)
        for folder in (kitchen, kitchen / "videos", self.path / "videos"):
            if file := _with_suffix(folder, video_id, VIDEO_SUFFIXES):
                return file
        return None

    def flow(self, video_id: str) -> Path | None:
        """epicsub's own flow file, or None."""
        file = self.path / "flow" / _participant(video_id) / f"{video_id}.mp4"
        return file if file.is_file() else None

    def rgb_frames(self, video_id: str) -> Path | None:
        """The organisers' extracted RGB frames: a folder or a tar file, or None."""
        return self._frames("rgb_frames", video_id)

    def flow_frames(self, video_id: str) -> Path | None:
        """The organisers' extracted flow frames: a folder or a tar file, or None."""
        return self._frames("flow_frames", video_id)

    def prepared(self, video_id: str, modality: str) -> Path:
        """Where the prepared store's index for a video is, or would be."""
        return self.path / "prepared" / modality / _participant(video_id) / f"{video_id}.index"

    def found(self, video_id: str, modality: str) -> Path | None:
        """What `modality` ("rgb" or "flow") of a video is read from: a video file before extracted frames."""
        if modality == "rgb":
            return self.video(video_id) or self.rgb_frames(video_id)
        if modality == "flow":
            return self.flow(video_id) or self.flow_frames(video_id)
        raise ValueError(f"modality {modality!r}: rgb or flow")

    def places(self, video_id: str, modality: str) -> str:
        """Where `found` looks, for messages."""
        kitchen = _participant(video_id)
        if modality == "rgb":
            return f"{self.path}/videos/{kitchen}/{video_id}.MP4 or {self.path}/rgb_frames/{kitchen}/{video_id}/"
        return f"{self.path}/flow/{kitchen}/{video_id}.mp4 or {self.path}/flow_frames/{kitchen}/{video_id}/"

    def missing(self, segments: Iterable[Segment], modalities: Sequence[str]) -> list[str]:
        """One line for each video of `segments` that lacks a modality, with how many segments that costs."""
        counts = Counter(segment.video_id for segment in segments)
        return [
            f"{video_id}: no {modality} for {counted(count, 'segment', 'segments')} "
            f"(looked for {self.places(video_id, modality)})"
            for video_id, count in sorted(counts.items())
            for modality in modalities
            if self.found(video_id, modality) is None
        ]

    def _frames(self, kind: str, video_id: str) -> Path | None:
        kitchen = self.path / kind / _participant(video_id)
        for folder in (kitchen, kitchen / kind):
            if (folder / video_id).is_dir():
                return folder / video_id
            if (tar := folder / f"{video_id}.tar").is_file():
                return tar
        return None


def _participant(video_id: str) -> str:
    return video_id.split("_", maxsplit=1)[0]


def _with_suffix(folder: Path, stem: str, suffixes: Sequence[str]) -> Path | None:
    """The file `stem` + one of `suffixes` in any case; the earlier suffix wins."""
    if not folder.is_dir():
        return None
    found = {file.suffix.lower(): file for file in folder.glob(f"{stem}.*")}
    return next((found[suffix] for suffix in suffixes if suffix in found), None)
