"""What the figures beyond the organisers' need: training frequencies, frame rates and class names, where they are."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from epicsub.data.annotations import read_class_names, read_video_info
from epicsub.errors import EpicsubError
from epicsub.validation.protocol import Protocol
from epicsub.validation.tables import read_training

Read = TypeVar("Read")


@dataclass(frozen=True)
class Background:
    """Tables that scoring can do without; what is not there is None, and `notes` says what is left out for it."""

    training: pd.DataFrame | None
    """verb_class and noun_class of the training list"""
    fps: dict[str, float] | None
    """video -> frames a second"""
    names: dict[str, dict[int, str]]
    """verb and noun -> class -> name; a class without a name goes by its number"""
    notes: tuple[str, ...]

    def name(self, task: str, identity: int) -> str:
        """A class in words, e.g. `take`, or `take plate` for an action."""
        if task == "action":
            return f"{self.name('verb', identity // 1000)} {self.name('noun', identity % 1000)}"
        return self.names.get(task, {}).get(identity, f"{task} {identity}")


def read_background(protocol: Protocol, annotations: Path) -> Background:
    """Read what there is of the training list, the table of videos and the class names."""
    folder = Path(annotations)
    notes: list[str] = []

    def read(path: Path, reader: Callable[[], Read], without: str) -> Read | None:
        if not path.is_file():
            notes.append(f"{without}: {path} is not there")
            return None
        try:
            return reader()
        except EpicsubError as error:
            notes.append(f"{without}: {error}")
            return None

    training, videos = folder / protocol.training_list, folder / "EPIC_100_video_info.csv"
    read_training_list = read(
        training, lambda: read_training(training, protocol.tasks), "no scores by training frequency or seen action"
    )
    info = read(videos, lambda: read_video_info(videos), "no scores by frame rate")
    names = {}
    for task in ("verb", "noun"):
        path = folder / f"EPIC_100_{task}_classes.csv"
        names[task] = read(path, lambda path=path: read_class_names(path), f"{task}s by number only") or {}  # type: ignore[misc]
    return Background(
        training=read_training_list,
        fps=None if info is None else {video: about.fps for video, about in info.items()},
        names=names,
        notes=tuple(notes),
    )
