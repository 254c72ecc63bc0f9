"""Features of source and target clips, by a model before and after adaptation."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.inference.targets import Target
from epicsub.progress import track
from epicsub.recipe import Recipe
from epicsub.training.build import model_of
from epicsub.training.loaders import view_loader
from epicsub.training.loop import ONE_VIEW


def features_before_and_after(
    after: Target,
    before: Target | None,
    domains: Mapping[str, Sequence[Segment]],
    most: int,
    root: DataRoot,
    device: torch.device,
) -> dict[str, dict[str, np.ndarray]]:
    """Title -> domain -> features (N, D), one view a segment, modalities side by side.

    Args:
        after: the adapted run's checkpoint; its recipe says how clips are cut.
        before: a checkpoint of the same clips, or None for the weights that the run started from.
        domains: segments by domain.
        most: segments of each domain, spread evenly over its list.
    """
    trained = after.load(device)
    recipe = trained.recipe
    if before is None:
        torch.manual_seed(recipe.seed)
        models = {"before training": model_of(recipe, weights=True).to(device), "after": trained.model}
    else:
        models = {f"before: {before.path.parent.name}": before.load(device).model, "after": trained.model}
    chosen = {domain: _spread(segments, most) for domain, segments in domains.items()}
    return {
        title: {
            domain: features_of(model, recipe, root, segments, device, f"{title}, {domain}")
            for domain, segments in chosen.items()
        }
        for title, model in models.items()
    }


@torch.inference_mode()
def features_of(
    model: nn.Module, recipe: Recipe, root: DataRoot, segments: Sequence[Segment], device: torch.device, label: str
) -> np.ndarray:
    """Pooled features of one view of each segment, (N, D), modalities side by side."""
    model.eval()
    loader = view_loader(recipe, root, segments, ONE_VIEW)
    found = []
    for _, views in track(loader, label, len(loader)):
        output = model({name: clip.to(device).flatten(0, 1) for name, clip in views.items()})
        found.append(torch.cat([part.float().flatten(1) for part in output.features.values()], dim=1).cpu().numpy())
    return np.concatenate(found)


def _spread(segments: Sequence[Segment], most: int) -> list[Segment]:
    places = np.linspace(0, len(segments) - 1, min(most, len(segments))).round().astype(int)
    return [segments[place] for place in places]
