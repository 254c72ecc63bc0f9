"""Pooled features of segments, by a trained model."""

from collections.abc import Sequence
from pathlib import Path

from epicsub.api.common import data_root, device_of
from epicsub.data.features.store import SHARD_SEGMENTS
from epicsub.data.sampling import parse_views
from epicsub.inference.features import Extracted
from epicsub.inference.features import extract_features as extract
from epicsub.inference.targets import resolve_target
from epicsub.recipe import Recipe
from epicsub.validation import load_protocol


def extract_features(
    target: str | Path,
    out: Path,
    lists: Sequence[str] = (),
    *,
    tta: str | None = None,
    shard_segments: int = SHARD_SEGMENTS,
    data: str | Path | None = None,
    device: str = "auto",
) -> Extracted:
    """Write each segment's pooled features, per modality; a killed run can be resumed.

    Args:
        target: a checkpoint or a run.
        out: folder to write.
        lists: tables under annotations/. Default: all that the recipe trains on, adapts to and is scored on.
        tta: views per segment. Default: those of the recipe.
        shard_segments: segments per file.
        data: the data root. Default: $EPICSUB_DATA, else `data/`.
        device: auto, cpu, cuda or mps.

    Returns:
        How many segments were written and how many were there, with the features' sizes.

    Raises:
        EpicsubError: the target or a table does not fit, files of segments are missing, or the folder holds features
            made otherwise.
    """
    resolved, chosen = resolve_target(str(target)), device_of(device)
    views = parse_views(tta) if tta else None
    names = list(lists) or (_all_lists(resolved.recipe) if resolved.kind == "checkpoint" else [])
    return extract(resolved, data_root(data), names, out, chosen, views, shard_segments)


def _all_lists(recipe: Recipe) -> list[str]:
    """The lists that a recipe trains on, adapts to and is scored on."""
    protocol = load_protocol(Path(recipe.evaluation.protocol))
    names = [*recipe.data.source, *recipe.data.target, protocol.validation.list, protocol.test.list]
    return list(dict.fromkeys(names))
