"""Batches of features for training and prediction, of segments alone or with their neighbours.

Shape legend: B segments, T times or sets of features of a segment, D entries of a feature, W places of a window.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from epicsub.data.annotations import Segment
from epicsub.data.batch import Batch, ClipBatch, LabelledClipBatch, Labels
from epicsub.data.domains import NO_LABEL, SOURCE, check_domains, noun_of
from epicsub.data.features import IN_MEMORY, FeatureTable, Selected
from epicsub.data.neighbours import joined, windows
from epicsub.data.samplers import StepSampler, batches_of_share
from epicsub.modality import PRESENT, SECONDS


class FeatureBatches:
    """Training batches: the draws of `StepSampler`, so that features are drawn as clips are.

    Yields `Batch`es of features (B, D) or (B, T, D).

    Args:
        source: labelled segments.
        target: unlabelled segments of each list.
        tables: by modality.
        sampler: draws the batches.
        window: segments of a window; None for single ones.

    Raises:
        DataError: source or target are not what they should be, or segments without features.
    """

    def __init__(
        self,
        source: Sequence[Segment],
        target: Sequence[Sequence[Segment]],
        tables: Mapping[str, FeatureTable],
        sampler: StepSampler,
        window: int | None = None,
    ) -> None:
        check_domains(source, target)
        self.sampler = sampler
        self._source = _Part([source], tables, window)
        self._target = _Part(target, tables, window) if any(target) else None
        self._begins = [sum(map(len, target[:number])) for number in range(len(target))]
        self._verb_S = torch.tensor([segment.verb_class for segment in source])
        self._noun_S = torch.tensor([noun_of(segment) for segment in source])

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        for draws in self.sampler:
            of_source = [draw for draw in draws if draw.domain == SOURCE]
            source_B = torch.tensor([draw.segment_index for draw in of_source])
            narration_ids, clips = self._source.rows(source_B, [draw.seed for draw in of_source])
            labels = self._labels(source_B)
            batch = LabelledClipBatch(narration_ids=narration_ids, clips=clips, labels=labels)
            others = [draw for draw in draws if draw.domain != SOURCE]
            rows = [self._begins[d.list_index] + d.segment_index for d in others]
            if self._target is None or not rows:
                yield Batch(batch)
                continue
            narration_ids, clips = self._target.rows(torch.tensor(rows), [draw.seed for draw in others])
            yield Batch(batch, ClipBatch(narration_ids=narration_ids, clips=clips))

    def _labels(self, source_B: torch.Tensor) -> Labels:
        """Labels of source segments, and of those around them."""
        own = Labels(verb_B=self._verb_S[source_B], noun_B=self._noun_S[source_B])
        around = self._source.around
        if around is None:
            return own
        index_BW, present_BW = around.index_NW[source_B], around.present_NW[source_B]
        return replace(
            own,
            window_verb_BW=self._verb_S[index_BW].where(present_BW, NO_LABEL),
            window_noun_BW=self._noun_S[index_BW].where(present_BW, NO_LABEL),
        )


class FeatureViews:
    """Segments in order for prediction: (narration ids, {modality: (B, 1, D) or (B, 1, T, D)}).

    Args:
        segments: in order.
        tables: by modality.
        batch_size: segments per batch.
        rank: number of this process, which gets every `ranks`-th batch.
        ranks: number of processes.
        window: segments of a window; None for single ones.

    Raises:
        DataError: segments without features.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        tables: Mapping[str, FeatureTable],
        batch_size: int,
        rank: int = 0,
        ranks: int = 1,
        window: int | None = None,
    ) -> None:
        self._part = _Part([segments], tables, window)
        self._positions = [torch.tensor(part) for part in batches_of_share(len(segments), batch_size, rank, ranks)]

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[tuple[list[str], dict[str, torch.Tensor]]]:
        for positions_B in self._positions:
            narration_ids, features = self._part.rows(positions_B)
            yield narration_ids, {name: x_BD.unsqueeze(1) for name, x_BD in features.items()}


class _Part:
    """Segments of one domain's lists and their features, each alone or in a window of its list."""

    def __init__(
        self, lists: Sequence[Sequence[Segment]], tables: Mapping[str, FeatureTable], window: int | None
    ) -> None:
        self.ids = [segment.narration_id for segments in lists for segment in segments]
        self.around = None if window is None else joined([windows(segments, window) for segments in lists])
        selected = {name: table.select(self.ids) for name, table in tables.items()}
        values = sum(len(self.ids) * table.dim * (table.times or 1) for table in tables.values())
        self.features: dict[str, torch.Tensor | Selected] = {
            name: rows.in_memory if 4 * values <= IN_MEMORY else rows for name, rows in selected.items()
        }

    def rows(
        self, positions_B: torch.Tensor, seeds: Sequence[int] | None = None
    ) -> tuple[list[str], dict[str, torch.Tensor]]:
        """Narration ids and features by modality; with windows, of sets drawn by the seeds, else of the first set."""
        ids = [self.ids[position] for position in positions_B.tolist()]
        if self.around is None:
            return ids, {name: rows[positions_B] for name, rows in self.features.items()}
        index_BW, present_BW = self.around.index_NW[positions_B], self.around.present_NW[positions_B]
        clips = {PRESENT: present_BW, SECONDS: self.around.seconds_NW2[positions_B]}
        for name, rows in self.features.items():
            x = rows[index_BW.flatten()]
            x = x.reshape(*index_BW.shape, *x.shape[1:])
            if x.ndim == 4:  # (B, W, sets, D)
                x = x.take_along_dim(_draw_sets(index_BW, x.shape[2], seeds)[..., None, None], dim=2).squeeze(2)
            clips[name] = x.where(present_BW[..., None], 0.0)
        return ids, clips


def _draw_sets(index_BW: torch.Tensor, sets: int, seeds: Sequence[int] | None) -> torch.Tensor:
    """Which set of features each place of a window has: drawn, or without seeds the first, which is not augmented."""
    if seeds is None:
        return torch.zeros_like(index_BW)
    drawn = [np.random.default_rng(seed).integers(sets, size=index_BW.shape[1]) for seed in seeds]
    return torch.from_numpy(np.stack(drawn))
