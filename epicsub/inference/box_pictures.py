"""What a model is shown of hands and objects: boxes and slots on its own clips, and how much it attends to each.

Shapes: T frames, H, W pixels, L slices of time, S slots.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.data.sampling import parse_views
from epicsub.errors import InferenceError
from epicsub.inference.predict import flat_views
from epicsub.inference.targets import Target
from epicsub.io import atomic_write
from epicsub.modality import RGB
from epicsub.models.streams import TwoStream
from epicsub.models.two_classifiers import TwoClassifiers
from epicsub.slots import BOXES, SLOTS, Slots
from epicsub.text import join_problems
from epicsub.training.loaders import store_of, view_loader
from epicsub.training.preflight import missing_files

COLOURS = ((66, 135, 245), (245, 66, 66), (120, 200, 255), (255, 150, 130), (250, 210, 60), (130, 220, 110))
"""RGB of each slot."""
SIDE = 256  # pixels of a drawn picture
LEGEND = 15  # pixels of a slot's line under the picture
FRAMES_PER_SECOND = 6  # of the film: slow enough to look at boxes
QUALITY = 82


@dataclass(frozen=True, eq=False)
class Shown:
    """The middle clip of a segment, as the network sees it."""

    narration_id: str
    frames_THWC: np.ndarray  # noqa: N815
    """RGB."""
    boxes_LSE: np.ndarray  # noqa: N815
    """Slots of `slots.BOXES`."""
    weights: dict[str, list[float]]
    """By task, the attention to each slot; empty for a model without relations."""

    def picture(self, frame: int) -> np.ndarray:
        """Draw a frame with the boxes of its slice, over a line per slot.

        Args:
            frame: its number.

        Returns:
            (height, width, 3) uint8.
        """
        canvas = cv2.resize(self.frames_THWC[frame], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        slots = Slots.of(torch.from_numpy(self.boxes_LSE[frame * len(self.boxes_LSE) // len(self.frames_THWC)]))
        lines = np.full((LEGEND * (len(SLOTS) + 1), SIDE, 3), 24, np.uint8)
        _write(lines, self.narration_id, 0, (255, 255, 255))
        for slot, (name, colour) in enumerate(zip(SLOTS, COLOURS, strict=True)):
            present = bool(slots.present_BTS[slot])
            if present:
                x0, y0, x1, y1 = (int(v) for v in (slots.corners_BTS4[slot] * (SIDE - 1)).round().tolist())
                cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, 2)
            words = name + (f" {float(slots.score_BTS[slot]):.2f}" if present else " -")
            words += "".join(f"  {task} {of[slot]:.2f}" for task, of in self.weights.items() if present)
            _write(lines, words, slot + 1, colour if present else (120, 120, 120))
        return np.concatenate([canvas, lines])

    def middles(self) -> list[int]:
        """The middle frame of each slice.

        Returns:
            L numbers.
        """
        each = len(self.frames_THWC) / len(self.boxes_LSE)
        return [int((place + 0.5) * each) for place in range(len(self.boxes_LSE))]


def _write(lines: np.ndarray, words: str, row: int, colour: tuple[int, int, int]) -> None:
    place = (4, (row + 1) * LEGEND - 4)
    cv2.putText(lines, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1, cv2.LINE_AA)


@torch.inference_mode()
def look(target: Target, segments: Sequence[Segment], root: DataRoot, device: torch.device) -> Iterator[Shown]:
    """Show segments to a model that was trained with boxes.

    Args:
        target: a checkpoint.
        segments: any.
        root: where the videos and boxes lie.
        device: where to run.

    Yields:
        Each segment's middle clip, in order.

    Raises:
        InferenceError: the target holds predictions, was trained without boxes or without rgb, or files are missing.
        DataError: a clip or a box cannot be read.
    """
    if target.checkpoint is None:
        raise InferenceError(f"{target.path}: holds predictions; boxes are shown to a checkpoint (.pth) or a run")
    recipe = target.recipe
    if recipe.data.boxes is None or RGB.name not in recipe.data.modalities:
        raise InferenceError(f"{target.name} was trained without data.boxes: name a run that has them")
    trained = target.load(device)
    model = trained.model.first if isinstance(trained.model, TwoClassifiers) else trained.model
    model.eval()
    store = store_of(recipe, root, list(segments))
    if missing := missing_files(recipe, root, list(segments), store):
        raise InferenceError(join_problems(missing, "nothing was drawn"))
    for batch in view_loader(recipe, root, list(segments), parse_views("1x1"), store):
        ids, clips = flat_views(batch, device)
        weights: dict[str, torch.Tensor] = {}
        if isinstance(model, TwoStream) and model.relation_head is not None:
            with trained.autocast():
                related = model.related(clips)[1]
            weights = {"verb": related.verb_weights_BS, "noun": related.noun_weights_BS}
        for row, narration_id in enumerate(ids):
            yield Shown(
                narration_id,
                clips[RGB.name][row].permute(1, 2, 3, 0).cpu().numpy(),
                clips[BOXES][row].float().cpu().numpy(),
                {task: of[row].float().cpu().tolist() for task, of in weights.items()},
            )


def write_sheet(shown: Sequence[Shown], path: Path) -> None:
    """Write a contact sheet: a row per segment, a picture per slice.

    Args:
        shown: at least one.
        path: the .png.
    """
    rows = [np.concatenate([one.picture(frame) for frame in one.middles()], axis=1) for one in shown]
    written, data = cv2.imencode(".png", np.concatenate(rows)[..., ::-1])
    assert written
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.tobytes())


def write_film(shown: Sequence[Shown], path: Path) -> None:
    """Write every frame of every clip as a short film.

    Args:
        shown: at least one.
        path: the .mp4.
    """
    first = shown[0].picture(0)
    height, width = (side - side % 2 for side in first.shape[:2])
    with atomic_write(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for one in shown:
            for frame in range(len(one.frames_THWC)):
                picture = np.ascontiguousarray(one.picture(frame)[:height, :width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def box_thumbnails(
    target: Target, segments: Sequence[Segment], root: DataRoot, device: torch.device
) -> dict[str, bytes | str]:
    """The middle frame of each segment with its boxes and attention, for a report.

    Args:
        target: as of `look`, like the rest.
        segments: any.
        root: of the data.
        device: where to run.

    Returns:
        JPEG by narration id.

    Raises:
        InferenceError: as `look` does.
    """
    found: dict[str, bytes | str] = {}
    for one in look(target, segments, root, device):
        picture = one.picture(len(one.frames_THWC) // 2)
        written, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        assert written
        found[one.narration_id] = data.tobytes()
    return found
