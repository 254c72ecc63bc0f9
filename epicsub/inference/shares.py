"""Predictions of one list by several processes: each predicts its share of the batches, and all get the whole."""

from collections.abc import Sequence

import numpy as np
import torch.distributed

from epicsub.predictions import Predictions


def gathered(own: Predictions | None, narration_ids: Sequence[str]) -> Predictions:
    """The predictions of all processes for these segments; those of this one, where it is the only one.

    Every process must call it. The shares are of the list's own batches (`view_loader`), so that what a batch norm or
    a matrix product makes of a batch does not depend on the number of processes.

    Args:
        own: of this process; None where there are fewer batches than processes and it had none.
        narration_ids: the whole list; the order of what is returned.

    Raises:
        PredictionsError: a segment was predicted twice or by nobody.
    """
    parts = [own]
    if torch.distributed.is_initialized():
        parts *= torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, own)
    return joined([part for part in parts if part is not None], narration_ids)


def joined(parts: Sequence[Predictions], narration_ids: Sequence[str]) -> Predictions:
    """The parts' predictions as one, in the list's order, joined on narration id.

    Raises:
        PredictionsError: a segment is in several parts or in none.
    """
    names = ("narration_ids", "verb_logprobs", "noun_logprobs")
    every = Predictions(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    return every.select(narration_ids)
