"""Models as a notebook uses them, and predictions and features of whole lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from epicsub.api import data_root, device_of
from epicsub.api.boxes import boxes_around
from epicsub.api.shares import all_lists, what_to_predict
from epicsub.data.annotations import Segment, read_class_names
from epicsub.data.batch import collate_views
from epicsub.data.clips import ViewClips
from epicsub.data.decode.reader import open_reader
from epicsub.data.features.store import SHARD_SEGMENTS
from epicsub.data.root import DataRoot
from epicsub.data.sampling import parse_views, with_context
from epicsub.data.sources import ClipSource
from epicsub.errors import DataError, HubError, InferenceError
from epicsub.hub.folder import class_digest, is_published, read_note
from epicsub.inference.features import Extracted
from epicsub.inference.features import extract_features as extract
from epicsub.inference.predict import mean_over_views
from epicsub.inference.targets import Trained, predictions_of, resolve_target
from epicsub.io import user_path
from epicsub.io.shards import Shard
from epicsub.modality import MODALITIES, RGB, with_files
from epicsub.models.heads import TwoHeadOutput
from epicsub.predictions import Predictions
from epicsub.training.device import autocast

CLASS_TABLES = {"verb": "EPIC_100_verb_classes.csv", "noun": "EPIC_100_noun_classes.csv"}


@dataclass(frozen=True)
class Candidate:
    """One of the most probable classes of a clip."""

    id: int
    """Of the verb or noun."""
    name: str
    """From the tables under annotations/; the id as text where they are not there."""
    probability: float


@dataclass(frozen=True, eq=False)
class ClipPrediction:
    """What a model predicts for one clip."""

    verb_logprobs: np.ndarray
    """(97,) float32, natural logarithm."""
    noun_logprobs: np.ndarray
    """(300,) float32."""
    verb_names: dict[int, str]
    """By class; empty where the tables are not there."""
    noun_names: dict[int, str]

    def top(self, task: Literal["verb", "noun"], count: int = 5) -> list[Candidate]:
        """List the most probable classes.

        Args:
            task: verb or noun.
            count: how many.

        Returns:
            The best one first.
        """
        verb = task == "verb"
        logprobs, names = (self.verb_logprobs, self.verb_names) if verb else (self.noun_logprobs, self.noun_names)
        order = np.argsort(-logprobs, kind="stable")[:count].tolist()
        return [Candidate(row, names.get(row, str(row)), float(np.exp(logprobs[row]))) for row in order]


class ClipModel(nn.Module):
    """A trained model: a plain module over clips, that also cuts its clips out of videos."""

    def __init__(self, trained: Trained, names: dict[str, dict[int, str]]) -> None:
        """Wrap a trained model.

        Args:
            trained: the model and its recipe.
            names: names of verbs and nouns, by task and class.
        """
        super().__init__()
        self.network, self.recipe, self.names = trained.model, trained.recipe, names

    def forward(self, clips: dict[str, torch.Tensor]) -> TwoHeadOutput:
        """Compute logits and features.

        Args:
            clips: uint8 (B, C, T, H, W) per modality, as `self.recipe.data` cuts them.

        Returns:
            Verb logits (B, 97), noun logits (B, 300), and features.
        """
        with autocast(self.recipe.train.precision, next(self.network.parameters()).device):
            output: TwoHeadOutput = self.network(clips)
        return output

    @torch.inference_mode()
    def predict_clip(
        self, video: str | Path, start: float, stop: float, *, flow: str | Path | None = None, tta: str | None = None
    ) -> ClipPrediction:
        """Predict the action in a part of a video.

        Args:
            video: a video file.
            start: of the action, in seconds.
            stop: of the action, in seconds.
            flow: for models that read flow: its video, made by `epicsub data flow`. Not needed where `video` lies in
                the videos/ of a data root that holds it.
            tta: test-time views, e.g. 5x3+flip; those of the recipe by default.

        Returns:
            Log-probabilities and names, averaged over the views.

        Raises:
            InferenceError: the model reads features, or flow that is not there.
            DataError: the video is missing, damaged or shorter than `stop`.
        """
        path = user_path(video)
        root = self._root(path, None if flow is None else user_path(flow))
        data = self.recipe.data.video()
        clip_seconds = None if data.stride is None or data.frames is None else data.frames * data.stride
        if self.recipe.data.context and clip_seconds is not None:
            end = _duration(path)
            start, stop = with_context(start, stop, clip_seconds, self.recipe.data.context, end)
        segment = Segment(path.stem, path.stem[:3], path.stem, start, stop, 0, 0, None, None)
        source = ClipSource(root, with_files(self.recipe.data.modalities), self.recipe.data.decoder)
        views = ViewClips(
            [segment],
            source,
            frames=data.frames,
            sampling=data.sampling,
            stride=data.stride,
            short_side=data.short_side,
            size=data.size,
            views=parse_views(tta or self.recipe.evaluation.views),
            boxes=boxes_around(self.recipe, path),
            hand_crop=self.recipe.data.crop is not None,
        )
        _, batch = collate_views([views[0]])
        source.close()
        device = next(self.parameters()).device
        output = self({name: clip.to(device).flatten(0, 1) for name, clip in batch.items()})
        verb, noun = (
            mean_over_views(logits, 1)[0].numpy() for logits in (output.verb_logits_BV, output.noun_logits_BN)
        )
        return ClipPrediction(verb, noun, self.names["verb"], self.names["noun"])

    def _root(self, video: Path, flow: Path | None) -> DataRoot:
        """The data root around a video, or one that holds these files alone."""
        if self.recipe.data.features:
            raise InferenceError(f"{self.recipe.name} reads features, not videos: predict a list that has features")
        if not video.is_file():
            raise DataError(f"{video}: no such video; name one that is there")
        computed = [name for name in self.recipe.data.modalities if MODALITIES[name].command]
        if flow is None and computed:
            for folder in video.resolve().parents:
                root = DataRoot(folder)
                found = root.video(video.stem)
                if found and found.samefile(video) and all(root.found(video.stem, name) for name in computed):
                    return root
            raise InferenceError(
                f"{self.recipe.name} reads {', '.join(computed)}, and there is none for {video}: give flow=FILE, made "
                f"by `{MODALITIES[computed[0]].command}`"
            )
        return _SingleVideo({RGB.name: video} | ({} if flow is None else dict.fromkeys(computed, flow)))


class _SingleVideo(DataRoot):
    """A data root of one video, whose files may lie anywhere."""

    def __init__(self, files: dict[str, Path]) -> None:
        super().__init__(".")
        self.files = files

    def require(self, video_id: str, modality: str) -> Path:
        return self.files[modality]

    def frames(self, video_id: str, modality: str) -> Path | None:
        return None


def load_model(run: str | Path, *, data: str | Path | None = None, device: str = "auto") -> ClipModel:
    """Load a trained model.

    Args:
        run: a `.pth`, a run's folder, or its name under outputs/.
        data: data root, for the names of classes; by default the recipe's, else $EPICSUB_DATA, else data/.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        A module in evaluation mode with `predict_clip(video, start, stop)`.

    Raises:
        InferenceError: no such run, or it is a file of predictions.
        TrainingError: the checkpoint is damaged.
        HubError: a model of the hub cannot be fetched, or was trained with other tables of classes.
    """
    chosen = device_of(device)
    target = resolve_target(str(run))
    trained = target.load(chosen)
    folder = data_root(data, trained.recipe.data.root).path / "annotations"
    names = {
        task: read_class_names(folder / table) if (folder / table).is_file() else {}
        for task, table in CLASS_TABLES.items()
    }
    if is_published(target.path.parent):
        published = read_note(target.path.parent)["classes"].get("tables", {})
        for task, table in CLASS_TABLES.items():
            if names[task] and table in published and class_digest(names[task]) != published[table]:
                raise HubError(
                    f"{folder / table}: not the classes that {target.name} was trained with; give their --data"
                )
    return ClipModel(trained, names).eval()


def predict(
    target: str | Path,
    split: Literal["validation", "test"] = "validation",
    *,
    tta: str | None = None,
    stop: int = 0,
    protocol: str | Path | None = None,
    data: str | Path | None = None,
    device: str = "auto",
) -> Predictions:
    """Predict every segment of a protocol's list; predictions are kept beside the checkpoint and found again.

    Args:
        target: a checkpoint or a run; of a file of predictions, its content is returned.
        split: which list of the protocol.
        tta: test-time views, e.g. 5x3+flip; those of the recipe by default.
        stop: leave out views that cannot change the order of a segment's so many best classes; 0 takes all.
        protocol: name or path; the recipe's by default.
        data: data root; by default $EPICSUB_DATA, else data/.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        Log-probabilities of the list's segments, in its order.

    Raises:
        InferenceError: no such target, or videos are missing.
        ValidationError: no such protocol.
        DataError: the list or a clip cannot be read.
    """
    what = what_to_predict(target, split, tta=tta, protocol=protocol, data=data, device=device)
    return predictions_of(*what, stop)


def extract_features(
    target: str | Path,
    out: Path,
    lists: Sequence[str] = (),
    *,
    tta: str | None = None,
    shard_segments: int = SHARD_SEGMENTS,
    regions: bool = False,
    data: str | Path | None = None,
    device: str = "auto",
    share: Shard | None = None,
) -> Extracted:
    """Write each segment's pooled features, per modality; a killed run can be resumed.

    Args:
        target: a checkpoint or a run.
        out: folder to write.
        lists: tables under annotations/. Default: all that the recipe trains on, adapts to and is scored on.
        tta: views per segment. Default: those of the recipe.
        shard_segments: segments per file.
        regions: add features of hands and of objects as modalities, of a run with relations.
        data: the data root. Default: $EPICSUB_DATA, else `data/`.
        device: auto, cpu, cuda, cuda:N or mps.
        share: make this share alone, for `api.shares.merge_features`.

    Returns:
        How many segments were written and how many were there, with the features' sizes.

    Raises:
        EpicsubError: the target or a table does not fit, files of segments are missing, or the folder holds features
            made otherwise.
    """
    chosen = device_of(device)
    resolved = resolve_target(str(target))
    views = parse_views(tta) if tta else None
    names = list(lists) or (all_lists(resolved.recipe) if resolved.kind == "checkpoint" else [])
    return extract(resolved, data_root(data), names, user_path(out), chosen, views, shard_segments, regions, share)


def _duration(video: Path) -> float:
    reader = open_reader(video)
    try:
        return reader.duration
    finally:
        reader.close()
