"""What the agents of a run took out of its batches, what became of their rewards, and the features they left behind."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from epicsub.api import data_root, device_of
from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.data.sources import middle_frames
from epicsub.errors import TrainingError
from epicsub.inference.targets import Target, resolve_target
from epicsub.io import user_path, write_text
from epicsub.progress import track
from epicsub.training.build import model_of
from epicsub.training.loaders import ViewLoader, source_segments, store_of, target_segments, view_loader
from epicsub.training.loop import ONE_VIEW
from epicsub.training.run_folder import REMOVALS_FILE, read_metrics

COLUMNS = ("agent", "narration_id", "domain", "seen", "removed", "share")


class Count(NamedTuple):
    """How often an agent met a segment and took it out."""

    agent: str
    narration_id: str
    domain: str
    seen: int
    removed: int


def write_agent_report(
    run: str | Path,
    before: str | Path | None = None,
    *,
    out: Path | None = None,
    clips: int = 6,
    segments: int = 200,
    data: str | Path | None = None,
    device: str = "auto",
) -> list[Path]:
    """Write a table of removals, learning curves, a sheet of the most removed clips, and t-SNE of the features.

    Args:
        run: a run with agents, with its logs.
        before: a run or checkpoint before adaptation. Default: the weights that the run started from.
        out: folder of the files. Default: agents/ in the run's folder.
        clips: clips per agent on the sheet.
        segments: segments per domain for t-SNE, spread evenly over its lists.
        data: the data root. Default: that of the recipe, $EPICSUB_DATA, else `data/`.
        device: auto, cpu, cuda or mps, for the features.

    Returns:
        The files; `curves.png` is not among them where nothing that removes has rewards.

    Raises:
        EpicsubError: matplotlib or scikit-learn is missing.
        InferenceError: no such run or checkpoint.
        TrainingError: the run has no agents.
    """
    from epicsub.studies import pictures  # matplotlib and scikit-learn are optional (epicsub[studies])

    chosen = device_of(device)
    target = resolve_target(str(run))
    earlier = resolve_target(str(before)) if before else None
    root, folder = data_root(data, target.recipe.data.root), target.path.parent
    out = user_path(out or folder / "agents")
    counts = _counts(_read_removals(folder / REMOVALS_FILE))
    domains = {
        "source": source_segments(target.recipe, root),
        "target": [segment for part in target_segments(target.recipe, root) for segment in part],
    }
    _write_counts(counts, out / "removed.csv")
    curves_drawn = pictures.curves(read_metrics(folder / "metrics.jsonl"), out / "curves.png")
    rows = _most_removed(counts, clips)
    shown = {count.narration_id for row in rows.values() for count in row}
    frames = middle_frames(root, [s for part in domains.values() for s in part if s.narration_id in shown])
    captions = {
        agent: [(c.narration_id, f"{c.narration_id}  {c.removed} of {c.seen}") for c in row]
        for agent, row in rows.items()
    }
    pictures.contact_sheet(captions, frames, out / "most_removed.png")
    found = _features_before_and_after(target, earlier, domains, segments, root, chosen)
    pictures.embeddings(found, out / "features.png")
    names = ("removed.csv", *(("curves.png",) if curves_drawn else ()), "features.png", "most_removed.png")
    return [out / name for name in names]


def _read_removals(path: Path) -> list[dict[str, Any]]:
    """Lines of a run's `removed.jsonl`; a last one that a kill cut short is left out."""
    if not path.is_file():
        raise TrainingError(
            f"{path}: no such file. A run writes it where agents take instances out (adaptation.method mmir and its "
            "controls, from its first stage with a target_batch on); older versions of epicsub write none"
        )
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]


def _counts(lines: Sequence[Mapping[str, Any]]) -> list[Count]:
    """Every agent and segment that met, by agent; the most often removed first, then by share and name."""
    seen: Counter[tuple[str, str, str]] = Counter()
    removed: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        for agent, positions in line["removed"].items():
            domain = agent.rpartition("_")[2]
            batch = line[domain]
            seen.update((agent, name, domain) for name in batch)
            removed.update((agent, batch[position], domain) for position in positions)
    found = [Count(*key, seen=met, removed=removed[key]) for key, met in seen.items()]
    return sorted(found, key=lambda c: (c.agent, -c.removed, -c.removed / c.seen, c.narration_id))


def _write_counts(counts: Sequence[Count], path: Path) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([*count, f"{count.removed / count.seen:.4f}"] for count in counts)
    write_text(path, text.getvalue())


def _most_removed(counts: Sequence[Count], clips: int) -> dict[str, list[Count]]:
    agents = dict.fromkeys(count.agent for count in counts)
    return {agent: [c for c in counts if c.agent == agent and c.removed][:clips] for agent in agents}


def _features_before_and_after(
    after: Target,
    before: Target | None,
    domains: Mapping[str, Sequence[Segment]],
    most: int,
    root: DataRoot,
    device: torch.device,
) -> dict[str, dict[str, np.ndarray]]:
    """Title -> domain -> features (N, D), one view per segment, modalities side by side."""
    trained = after.load(device)
    recipe = trained.recipe
    if before is None:
        torch.manual_seed(recipe.seed)
        models = {"before training": model_of(recipe, weights=True).to(device), "after": trained.model}
    else:
        models = {f"before: {before.path.parent.name}": before.load(device).model, "after": trained.model}
    chosen = {domain: _spread(segments, most) for domain, segments in domains.items()}
    stores = {domain: store_of(recipe, root, segments) for domain, segments in chosen.items()}
    return {
        title: {
            domain: _features(
                model, view_loader(recipe, root, segments, ONE_VIEW, stores[domain]), device, f"{title}, {domain}"
            )
            for domain, segments in chosen.items()
        }
        for title, model in models.items()
    }


@torch.inference_mode()
def _features(model: nn.Module, loader: ViewLoader, device: torch.device, label: str) -> np.ndarray:
    """Pooled features of one view per segment, (N, D)."""
    model.eval()
    found = []
    for _, views in track(loader, label, len(loader)):
        output = model({name: clip.to(device).flatten(0, 1) for name, clip in views.items()})
        found.append(torch.cat([part.float().flatten(1) for part in output.features.values()], dim=1).cpu().numpy())
    return np.concatenate(found)


def _spread(segments: Sequence[Segment], most: int) -> list[Segment]:
    places = np.linspace(0, len(segments) - 1, min(most, len(segments))).round().astype(int)
    return [segments[place] for place in places]
