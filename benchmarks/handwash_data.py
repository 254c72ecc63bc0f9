"""Hands at two sinks as a data root in the organisers' layout, and frozen features of it.

The clips are the `Mock_HandWashDataset/` of the public repository huiwen99/HandWash (part of the Kaggle set
realtimear/hand-wash-dataset, which states no licence, so nothing of it lies here), in its own folders or in one folder
with a table `clips.csv`. A participant is one of its videos (P01 to P10: 001 to 010, a person at a sink), a video of
ours one of its files (P09_02: action 02 of video 009), a segment two seconds of it. Verbs are its seven steps, nouns
its hands: both, left, right.
"""

import re
from pathlib import Path
from typing import NamedTuple

import av
import pandas as pd
import torch
import yaml

from epicsub.data.features.store import FeatureStore, read_store
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.errors import DataError
from epicsub.inference.features import extract_features
from epicsub.inference.targets import Target
from epicsub.io import sha256, write_text
from epicsub.models.weights import find_weights
from epicsub.recipe import load_recipe
from epicsub.training.build import model_of
from epicsub.training.checkpoint import Checkpoint

SECONDS = 2.0
VERBS = 7
HANDS = ("both", "left", "right")
STEEL, WHITE, HELD_OUT = range(1, 9), (9, 10), (8,)  # videos; the third sink's one clip is left out
TRAIN, TARGET, HELDOUT = "EPIC_100_train.csv", "EPIC_100_validation.csv", "source_heldout.csv"
HALVES = {video: f"target_{video:03d}.csv" for video in WHITE}
ORIGINAL = re.compile(r"HandWash_(\d{3})_A_(\d{2})_G_?(\d{2})\.mp4")
FOLDER = re.compile(r"Step_(\d)(?:_(Left|Right))?")
VIEWS = Views(clips=3)
SHARD = 24  # segments, so that a stopped extraction loses a minute
FROZEN = {"rgb": "i3d_rgb_kinetics400", "flow": "lite0_imagenet"}  # `flow` is but the second modality's name
FROZEN_RECIPES = Path(__file__).parent / "handwash"


class Clip(NamedTuple):
    """One file of the set."""

    path: Path
    video: int
    action: int
    step: int
    hand: str

    @property
    def video_id(self) -> str:
        """Name in our layout."""
        return f"P{self.video:02d}_{self.action:02d}"


def find_clips(folder: Path) -> list[Clip]:
    """The clips of both sinks, from a folder with `clips.csv` or from the original set; each content once."""
    table = folder / "clips.csv"
    if table.is_file():
        rows = pd.read_csv(table).itertuples()
        clips = [Clip(folder / row.file, int(row.video), int(row.action), int(row.step), row.hand) for row in rows]
    else:
        clips = []
        for path in sorted(folder.rglob("HandWash_*.mp4")):
            name, place = ORIGINAL.fullmatch(path.name), FOLDER.fullmatch(path.parent.name)
            if name and place and int(name[3]) in (1, 2):
                hand = place[2].lower() if place[2] else "both"
                clips.append(Clip(path, int(name[1]), int(name[2]), int(place[1]), hand))
        seen: set[str] = set()
        clips = [clip for clip in clips if not ((digest := sha256(clip.path)) in seen or seen.add(digest))]
    if not clips:
        raise DataError(
            f"{folder}: no clips: neither clips.csv nor HandWash_*.mp4 of Mock_HandWashDataset/ (the public repository "
            "huiwen99/HandWash); name their folder with --videos"
        )
    return clips


def make_root(folder: Path, root: Path) -> DataRoot:
    """Lists, tables and links to the videos. The target's labels stand in its list, which training reads without."""
    segments, videos = [], []
    for clip in sorted(find_clips(folder), key=lambda clip: clip.video_id):
        with av.open(str(clip.path)) as container:
            stream = container.streams.video[0]
            seconds, rate = float(stream.duration * stream.time_base), float(stream.average_rate)
            videos.append((clip.video_id, seconds, rate, f"{stream.width}x{stream.height}"))
        link = root / "videos" / clip.video_id[:3] / f"{clip.video_id}.mp4"
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(clip.path.absolute())
        segments += [_row(clip, number) for number in range(int((seconds + 0.05) // SECONDS))]
    table = pd.DataFrame(segments)
    video = table["participant_id"].str[1:].astype(int)
    lists = {
        TRAIN: video.isin([v for v in STEEL if v not in HELD_OUT]),
        HELDOUT: video.isin(HELD_OUT),
        TARGET: video.isin(WHITE),
        **{name: video == half for half, name in HALVES.items()},
    }
    tables = {name: table[chosen] for name, chosen in lists.items()}
    tables["EPIC_100_video_info.csv"] = pd.DataFrame(videos, columns=["video_id", "duration", "fps", "resolution"])
    for name, content in tables.items():
        write_text(root / "annotations" / name, content.to_csv(index=False, lineterminator="\n"))
    return DataRoot(root)


def _row(clip: Clip, number: int) -> dict[str, object]:
    start, stop = number * SECONDS, (number + 1) * SECONDS
    return {
        "narration_id": f"{clip.video_id}_{number}",
        "participant_id": clip.video_id[:3],
        "video_id": clip.video_id,
        "start_timestamp": _time(start),
        "stop_timestamp": _time(stop),
        "start_frame": int(start * 60) or 1,
        "stop_frame": int(stop * 60),
        "verb": f"step-{clip.step}",
        "verb_class": clip.step - 1,
        "noun": clip.hand,
        "noun_class": HANDS.index(clip.hand),
    }


def _time(seconds: float) -> str:
    return f"00:{int(seconds // 60):02d}:{seconds % 60:05.2f}"


def freeze(root: DataRoot) -> None:
    """Features of every segment and view by the two published networks, resumable; then side by side in one folder."""
    parts = {}
    for modality, name in FROZEN.items():
        file = FROZEN_RECIPES / f"{name}.yaml"
        model = model_of(load_recipe(file).recipe, weights=True)
        written = yaml.safe_load(file.read_text())  # not resolved: a new setting's default makes no other features
        checkpoint = Checkpoint(recipe=written, step=0, steps=0, lists={}, scores={}, model=model.state_dict())
        out = root.path / "features" / name
        target = Target(name, find_weights(name), checkpoint)
        extract_features(target, root, [TRAIN, HELDOUT, TARGET], out, torch.device("cpu"), VIEWS, SHARD)
        shards = read_store(out)
        ids = [one for shard in shards for one in shard.narration_ids]
        features = torch.cat([shard.tensors["rgb"] for shard in shards])
        parts[modality] = dict(zip(ids, features, strict=True))
    both = FeatureStore(root.path / "features" / "frozen", {"of": FROZEN, "views": str(VIEWS)})
    missing = [name for name in parts["rgb"] if name not in both.narration_ids]
    if missing:
        both.add(missing, {modality: torch.stack([x[name] for name in missing]) for modality, x in parts.items()})
