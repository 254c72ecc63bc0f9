"""Features that others published, in their own layouts, read without running what their pickles carry.

1. The organisers' domain adaptation challenge (epic-kitchens/C4-UDA-for-Action-Recognition): a pickle, or a folder of
   them, {"features": {"RGB": (N, 25, 1024), "Flow": ..., "Audio": ...}, "narration_ids": N ids}.
2. TranSVAE's features of D1, D2 and D3: one file per frame,
   FOLDER/{train,test}/{P08,P01,P22}/PXX_YY/ROW/img_00001.t7, with FOLDER the one named I3D-feature-pretrain or the one
   around it. ROW counts the rows of MM-SADA's table of that kitchen and split (D1_train.pkl, ...), which must lie in
   FOLDER too: they say which segment a row is. Of each segment `FRAMES` frames are taken, evenly, as TranSVAE does.

Shape legend: N segments, T times of a segment, D entries of a feature.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from epicsub.data.features import Shard
from epicsub.errors import DataError
from epicsub.modality import RGB
from epicsub.progress import track
from epicsub.text import counted, first_of
from epicsub.unpickle import load_pickle, load_torch

KITCHENS = {"P08": "D1", "P01": "D2", "P22": "D3"}
SPLITS = ("train", "test")
FRAMES = 5
FRAME_NAME = re.compile(r"img_(\d{5})\.t7")


def read_external(place: Path) -> list[Shard]:
    """Read features that others published.

    Args:
        place: a pickle, a folder of pickles, or a folder of single frames.

    Returns:
        All features, in memory.

    Raises:
        DataError: none of these is there, or it is not what it should be; names files and narration ids.
    """
    if not place.exists():
        raise DataError(f"{place}: no such folder or file of features; `epicsub data features` makes them")
    frames = _frames_folder(place)
    if frames is not None:
        return list(_read_frames(frames, place))
    pickles = [place] if place.is_file() else sorted(place.glob("[!.]*.pkl"))
    if not pickles:
        raise DataError(
            f"{place}: no features known to epicsub: no index.json of its own, no .pkl of the domain adaptation "
            "challenge, no train/ or test/ folder of single frames"
        )
    shards, problems = [], []
    for path in pickles:
        try:
            shards.append(_read_challenge(path))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return shards


def is_external(place: Path) -> bool:
    """Recognise external features without reading them.

    Args:
        place: a file or folder.

    Returns:
        True where it looks like external features, and not like a checkpoint or a run.
    """
    if place.is_file():
        return place.suffix.lower() == ".pkl"
    return place.is_dir() and (_frames_folder(place) is not None or any(place.glob("[!.]*.pkl")))


def _read_challenge(path: Path) -> Shard:
    """One pickle of the domain adaptation challenge; its modalities get lower-case names.

    Raises:
        DataError: it is no whole pickle of numpy arrays, or its content is of another form.
    """
    content: Any = load_pickle(path, DataError)
    if not isinstance(content, Mapping) or not isinstance(content.get("features"), Mapping):
        found = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise DataError(f"{path}: holds {found}; expected a dict with features and narration_ids")
    ids = [name.decode() if isinstance(name, bytes) else str(name) for name in content.get("narration_ids", [])]
    tensors, problems = {}, []
    for name, value in content["features"].items():
        array = value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        if array.dtype.kind != "f" or array.ndim not in (2, 3) or len(array) != len(ids):
            last = f"; the last id is {ids[-1]}" if ids else ""
            problems.append(
                f"{path}: {name} features are {array.dtype} {array.shape}, expected floats ({len(ids)}, D) or "
                f"({len(ids)}, T, D) for its {counted(len(ids), 'narration id', 'narration ids')}{last}"
            )
            continue
        tensors[str(name).lower()] = torch.from_numpy(array)
    if problems:
        raise DataError("\n".join(problems))
    return Shard(path, ids, tensors)


def _frames_folder(place: Path) -> Path | None:
    """The folder with train/ and test/ of single frames in or under `place`, or None."""
    for folder in (place / "I3D-feature-pretrain", place):
        if any((folder / split / kitchen).is_dir() for split in SPLITS for kitchen in KITCHENS):
            return folder
    return None


def _read_frames(folder: Path, place: Path) -> Iterator[Shard]:
    """One shard of rgb features (N, FRAMES, D) for each split and kitchen that is there.

    Raises:
        DataError: a table is missing or other than the folders, or a frame is missing, damaged or of another length.
    """
    for split in SPLITS:
        for kitchen, domain in KITCHENS.items():
            if (folder / split / kitchen).is_dir():
                yield _kitchen(folder / split / kitchen, _table(place, folder, f"{domain}_{split}.pkl"))


def _kitchen(folder: Path, table: pd.DataFrame) -> Shard:
    rows = {int(path.name): path for path in folder.glob("*/*") if path.is_dir() and path.name.isdigit()}
    problems = [
        f"{path}: row {row} of the table is of {table['video_id'].iloc[row]}, not of {path.parent.name}"
        if row < len(table)
        else f"{path}: the table has {len(table)} rows"
        for row, path in sorted(rows.items())
        if row >= len(table) or table["video_id"].iloc[row] != path.parent.name
    ]
    if problems:
        raise DataError(
            "\n".join(problems[:10]) + f"\n({len(problems)} folders that are not MM-SADA's rows: fetch both again)"
        )
    ids = [f"EK55_{table['uid'].iloc[row]}" for row in sorted(rows)]  # as `epicsub data lists` calls them
    vectors: list[torch.Tensor] = []
    label = f"frames of {folder.parent.name}/{folder.name}"
    for row, name in track(zip(sorted(rows), ids, strict=True), label, len(ids)):
        x_TD = _segment(rows[row], name)
        if vectors and x_TD.shape != vectors[0].shape:
            raise DataError(
                f"{rows[row]}: {name} has features {tuple(x_TD.shape)}, {ids[0]} {tuple(vectors[0].shape)}; fetch it"
            )
        vectors.append(x_TD)
    if not vectors:
        raise DataError(f"{folder}: holds no folder of a row; copy all of TranSVAE's folder")
    return Shard(folder, ids, {RGB.name: torch.stack(vectors)})


def _segment(folder: Path, name: str) -> torch.Tensor:
    """FRAMES frames of a segment, evenly: (FRAMES, D)."""
    numbers = sorted(int(match[1]) for path in folder.iterdir() if (match := FRAME_NAME.fullmatch(path.name)))
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        gaps = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
        raise DataError(
            f"{folder}: {name} lacks frames {first_of([str(gap) for gap in gaps]) or '(all of them)'}; fetch them again"
        )
    chosen = np.linspace(1, len(numbers), FRAMES).round().astype(int)
    paths = [folder / f"img_{number:05d}.t7" for number in chosen]
    frames = [_frame(path, name) for path in paths]
    for path, vector_D in zip(paths, frames, strict=True):
        if vector_D.shape != frames[0].shape:
            raise DataError(
                f"{path}: {name}: has {len(vector_D)} entries, the first frame {len(frames[0])}; fetch it again"
            )
    return torch.stack(frames)


def _frame(path: Path, name: str) -> torch.Tensor:
    try:
        vector = load_torch(path, DataError)
    except DataError as error:
        raise DataError(f"{error} (a frame of {name})") from error
    if not isinstance(vector, torch.Tensor) or not vector.is_floating_point() or vector.numel() == 0:
        raise DataError(f"{path}: {name}: holds no tensor of floats; fetch it again")
    return vector.detach().flatten().float()


def _table(place: Path, folder: Path, name: str) -> pd.DataFrame:
    """MM-SADA's table of a kitchen and split."""
    found = [path for path in (folder / name, place / name) if path.is_file()]
    if not found:
        raise DataError(
            f"{folder}: lacks {name}, MM-SADA's table that says which segment each row is; copy it there "
            "(jonmun/MM-SADA-code, Annotations/)"
        )
    table = load_pickle(found[0], DataError)
    if not isinstance(table, pd.DataFrame) or not {"uid", "video_id"} <= set(table.columns):
        raise DataError(f"{found[0]}: no table of MM-SADA with uid and video_id; fetch it again")
    return table
