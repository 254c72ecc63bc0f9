"""Predictions of several members in, one checked upload out."""

from epicsub.submission.check import Findings, check_submission
from epicsub.submission.supervision import Levels, combine_levels, levels_of_recipe
from epicsub.submission.write import Written, fill_prior, write_submission

__all__ = [
    "Findings",
    "Levels",
    "Written",
    "check_submission",
    "combine_levels",
    "fill_prior",
    "levels_of_recipe",
    "write_submission",
]
