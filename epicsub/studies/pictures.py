"""Pictures of a run's agents and of a pre-training, by matplotlib and scikit-learn (the extra `studies`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from epicsub.errors import EpicsubError
from epicsub.io import atomic_write

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
except ImportError as error:
    raise EpicsubError(
        f"epicsub bench draws with matplotlib and scikit-learn, and {error.name} is not here: "
        "pip install 'epicsub[studies]'"
    ) from error

FIGURES = {"reward": "mean reward", "greedy_q": "Q-value of the greedy pick", "reward_positive": "rewards of +1, %"}
GROUP_FIGURES = {"pi": "probability of a group", "error": "error of a group's fixed items"}
COLOURS = {"source": "#1f77b4", "target": "#d95f02"}
TILE = (3.0, 2.0)  # inches of a contact sheet's picture with its words
DIMENSIONS = 50  # of the features that t-SNE is given
DPI = 110


def curves(metrics: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw reward, Q-value and share of positive rewards of every agent, by step.

    Args:
        metrics: lines of a run's `metrics.jsonl`.
        path: the .png.

    Returns:
        False where no agent has rewards: nothing is drawn then.
    """
    lines = [line for line in metrics if line["kind"] == "train"]
    agents = sorted({key.partition("/")[0] for line in lines for key in line if key.endswith("/reward")})
    if not agents:
        return False
    shown = {name: label for name, label in FIGURES.items() if any(f"{agents[0]}/{name}" in line for line in lines)}
    figure = Figure(figsize=(4.6 * len(shown), 3.4), layout="constrained")
    for axes, (name, label) in zip(_row(figure, len(shown)), shown.items(), strict=True):
        for agent in agents:
            points = [(line["step"], line[f"{agent}/{name}"]) for line in lines if f"{agent}/{name}" in line]
            axes.plot(*zip(*points, strict=True), label=agent.replace("_", " "), linewidth=1.2)
        axes.set_xlabel("step")
        axes.set_title(label, fontsize=10)
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    _save(figure, path)
    return True


def contact_sheet(
    rows: Mapping[str, Sequence[tuple[str, str]]], pictures: Mapping[str, bytes | str], path: Path
) -> None:
    """Draw middle frames of segments, one row per agent.

    Args:
        rows: agent -> narration id and caption of its segments.
        pictures: narration id -> encoded picture, or why there is none.
        path: the .png.
    """
    columns = max(1, *(len(row) for row in rows.values()))
    figure = Figure(figsize=(TILE[0] * columns, TILE[1] * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, (agent, row) in zip(grid, rows.items(), strict=True):
        for axes in axes_row:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_frame_on(False)
        axes_row[0].set_ylabel(agent.replace("_", "\n"), rotation=0, ha="right", va="center")
        for axes, (narration_id, caption) in zip(axes_row, row, strict=False):
            picture = pictures[narration_id]
            if isinstance(picture, bytes):
                decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
                assert decoded is not None
                axes.imshow(decoded[..., ::-1])
            else:
                axes.text(0.5, 0.5, "no picture", ha="center", va="center", transform=axes.transAxes)
            axes.set_title(caption, fontsize=8)
    _save(figure, path)


def embeddings(features: Mapping[str, Mapping[str, np.ndarray]], path: Path, seed: int = 0) -> None:
    """Draw t-SNE of source and target features, one panel per state of the model.

    Args:
        features: title -> domain -> (N, D). Each panel is embedded on its own: places do not compare, mixing does.
        path: the .png.
        seed: of PCA and t-SNE.
    """
    figure = Figure(figsize=(4.6 * len(features), 4.4), layout="constrained")
    for axes, (title, domains) in zip(_row(figure, len(features)), features.items(), strict=True):
        all_ND = np.concatenate(list(domains.values()))
        small_ND = PCA(min(DIMENSIONS, *all_ND.shape), random_state=seed).fit_transform(all_ND)
        perplexity = min(30.0, (len(all_ND) - 1) / 3)
        placed_N2 = TSNE(2, perplexity=perplexity, random_state=seed, init="pca").fit_transform(small_ND)
        begin = 0
        for domain, part_ND in domains.items():
            here_N2 = placed_N2[begin : begin + len(part_ND)]
            axes.scatter(
                here_N2[:, 0], here_N2[:, 1], s=8, alpha=0.6, color=COLOURS[domain], label=f"{domain} ({len(part_ND)})"
            )
            begin += len(part_ND)
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    _save(figure, path)


def group_curves(checks: Sequence[Mapping[str, Any]], tasks: Sequence[str], path: Path) -> None:
    """Draw the probability of each group, where a policy chose, and the error of each group, by step.

    Args:
        checks: lines of a pre-training's `metrics.jsonl` of the kind "order".
        tasks: a row each.
        path: the .png.
    """
    shown = [(what, label) for what, label in GROUP_FIGURES.items() if any(f"{tasks[0]}/{what}_0" in c for c in checks)]
    figure = Figure(figsize=(5.2 * len(shown), 3.2 * len(tasks)), layout="constrained")
    grid = figure.subplots(len(tasks), len(shown), squeeze=False)
    for axes_row, task in zip(grid, tasks, strict=True):
        for axes, (what, label) in zip(axes_row, shown, strict=True):
            names = sorted({key for line in checks for key in line if key.startswith(f"{task}/{what}_")})
            for key in names:
                points = [(line["step"], line[key]) for line in checks if key in line]
                axes.plot(*zip(*points, strict=True), label=f"group {key.rpartition('_')[2]}", linewidth=1.2)
            axes.set_xlabel("step")
            axes.set_title(f"{task}: {label}", fontsize=10)
            axes.set_ylim(0, 1)
            axes.grid(alpha=0.3)
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    _save(figure, path)


def shuffled_clips(rows: Sequence[Sequence[Any]], path: Path) -> None:
    """Draw shuffled clips, a row per group: `title`, and `frames` side by side.

    Args:
        rows: of `studies.order.Shown`.
        path: the .png.
    """
    columns, wide = max(map(len, rows)), len(rows[0][0].frames)
    width = 1.1 * wide if wide > 1 else 1.8
    figure = Figure(figsize=(width * columns, 1.7 * len(rows)), layout="constrained")
    for axes_row, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        for axes, shown in zip(axes_row, row, strict=True):
            axes.imshow(np.concatenate(shown.frames, axis=1))
            axes.set_title(shown.title, fontsize=7)
            axes.set_axis_off()
    _save(figure, path)


def _row(figure: Figure, columns: int) -> list[Axes]:
    return list(figure.subplots(1, columns, squeeze=False)[0])


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
