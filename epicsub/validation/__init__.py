"""Predictions and labels in, the organisers' scores out. numpy and pandas only."""

from epicsub.validation.protocol import Protocol, SegmentList, load_protocol
from epicsub.validation.report import Evaluation, Reference, evaluate, read_reference, show, table, write_json
from epicsub.validation.scores import official_scores
from epicsub.validation.tables import read_labels, read_segment_ids

__all__ = [
    "Evaluation",
    "Protocol",
    "Reference",
    "SegmentList",
    "evaluate",
    "load_protocol",
    "official_scores",
    "read_labels",
    "read_reference",
    "read_segment_ids",
    "show",
    "table",
    "write_json",
]
