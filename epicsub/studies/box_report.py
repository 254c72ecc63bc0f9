"""Pictures of what a run sees of hands and objects."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from epicsub.api import data_root, device_of
from epicsub.data.annotations import Segment
from epicsub.errors import InferenceError
from epicsub.inference.box_pictures import look, write_film, write_sheet
from epicsub.inference.targets import resolve_target
from epicsub.io import user_path
from epicsub.text import first_of
from epicsub.validation import find_protocol

SHEET, FILM = "boxes.png", "boxes.mp4"


def write_box_report(
    run: str | Path,
    narration_ids: Sequence[str] = (),
    count: int = 8,
    list_name: str | None = None,
    *,
    out: Path | None = None,
    data: str | Path | None = None,
    device: str = "auto",
) -> list[Path]:
    """Draw boxes, slots and attention on the clips of some segments.

    Args:
        run: a checkpoint or a run with `data.boxes`.
        narration_ids: the segments. Default: `count` of the list, spread evenly.
        count: how many, where none is named.
        list_name: a table under annotations/. Default: the validation list of the recipe's protocol.
        out: folder. Default: boxes/ beside the checkpoint.
        data: the data root. Default: that of the recipe, $EPICSUB_DATA, else `data/`.
        device: auto, cpu, cuda or mps.

    Returns:
        Paths of the contact sheet and of the film.

    Raises:
        InferenceError: the run has no boxes, or segments are not in the list.
        DataError: a list, a clip or a box cannot be read.
    """
    target = resolve_target(str(run))
    if target.checkpoint is None:
        raise InferenceError(f"{target.path}: holds predictions; name a run with data.boxes")
    root = data_root(data, target.recipe.data.root)
    name = list_name or find_protocol(target.recipe.evaluation.protocol, None).protocol.validation.list
    chosen = _chosen(root.segments(name), name, narration_ids, count)
    shown = list(look(target, chosen, root, device_of(device)))
    folder = target.path.parent / "boxes" if out is None else user_path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_sheet(shown, folder / SHEET)
    write_film(shown, folder / FILM)
    return [folder / SHEET, folder / FILM]


def _chosen(segments: list[Segment], name: str, narration_ids: Sequence[str], count: int) -> list[Segment]:
    if not narration_ids:
        places = np.linspace(0, len(segments) - 1, min(count, len(segments))).round().astype(int)
        return [segments[place] for place in places]
    by_id = {segment.narration_id: segment for segment in segments}
    unknown = [one for one in narration_ids if one not in by_id]
    if unknown:
        raise InferenceError(f"{name} has no {first_of(unknown)}: name segments of it, or their list with --list")
    return [by_id[one] for one in narration_ids]
