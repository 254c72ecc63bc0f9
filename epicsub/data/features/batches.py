"""Batches of features, in the form that batches of clips have: selected by index, no workers.

Shape legend: B batch, T times of a segment, D entries of a feature.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch

from epicsub.data.annotations import Segment
from epicsub.data.batch import Batch, ClipBatch, LabelledClipBatch, Labels
from epicsub.data.domains import SOURCE, check_domains, noun_of
from epicsub.data.features.table import FeatureTable, Selected
from epicsub.data.samplers import StepSampler, batches_of_share

IN_MEMORY = 2 * 1024**3  # bytes of a data set that are copied out of the mapped files, which takes a select by a third


class FeatureBatches:
    """Training batches: the draws of `StepSampler`, so that features are drawn as clips are.

    Yields `Batch`es of features (B, D) or (B, T, D).

    Raises:
        DataError: source or target are not what they should be, or segments without features.
    """

    def __init__(
        self,
        source: Sequence[Segment],
        target: Sequence[Sequence[Segment]],
        tables: Mapping[str, FeatureTable],
        sampler: StepSampler,
    ) -> None:
        check_domains(source, target)
        self.sampler = sampler
        self._source = _Part(source, tables)
        flat = [segment for segments in target for segment in segments]
        self._target = _Part(flat, tables) if flat else None
        self._begins = [sum(map(len, target[:number])) for number in range(len(target))]
        self._verb_S = torch.tensor([segment.verb_class for segment in source])
        self._noun_S = torch.tensor([noun_of(segment) for segment in source])

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        for draws in self.sampler:
            source_B = torch.tensor([draw.segment_index for draw in draws if draw.domain == SOURCE])
            labels = Labels(verb_B=self._verb_S[source_B], noun_B=self._noun_S[source_B])
            narration_ids, clips = self._source.rows(source_B)
            batch = LabelledClipBatch(narration_ids=narration_ids, clips=clips, labels=labels)
            rows = [self._begins[d.list_index] + d.segment_index for d in draws if d.domain != SOURCE]
            if self._target is None or not rows:
                yield Batch(batch)
                continue
            narration_ids, clips = self._target.rows(torch.tensor(rows))
            yield Batch(batch, ClipBatch(narration_ids=narration_ids, clips=clips))


class FeatureViews:
    """Segments in order for prediction: (narration ids, {modality: (B, 1, D) or (B, 1, T, D)}).

    Process `rank` of `ranks` gets every `ranks`-th batch.

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
    ) -> None:
        self._part = _Part(segments, tables)
        self._positions = [torch.tensor(part) for part in batches_of_share(len(segments), batch_size, rank, ranks)]

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[tuple[list[str], dict[str, torch.Tensor]]]:
        for positions_B in self._positions:
            narration_ids, features = self._part.rows(positions_B)
            yield narration_ids, {name: x_BD.unsqueeze(1) for name, x_BD in features.items()}


class _Part:
    """Segments of one domain and their features."""

    def __init__(self, segments: Sequence[Segment], tables: Mapping[str, FeatureTable]) -> None:
        self.ids = [segment.narration_id for segment in segments]
        selected = {name: table.select(self.ids) for name, table in tables.items()}
        values = sum(len(self.ids) * table.dim * (table.times or 1) for table in tables.values())
        self.features: dict[str, torch.Tensor | Selected] = {
            name: rows.in_memory if 4 * values <= IN_MEMORY else rows for name, rows in selected.items()
        }

    def rows(self, positions_B: torch.Tensor) -> tuple[list[str], dict[str, torch.Tensor]]:
        """Narration ids and features by modality."""
        return [self.ids[position] for position in positions_B.tolist()], {
            name: rows[positions_B] for name, rows in self.features.items()
        }
