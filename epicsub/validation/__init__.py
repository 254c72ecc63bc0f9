"""Predictions and labels in, the organisers' scores out. numpy and pandas only."""

from epicsub.validation.compare import Difference, compare
from epicsub.validation.detail import Detail, detail
from epicsub.validation.lists import make_lists
from epicsub.validation.page import Model, page_data, write_page
from epicsub.validation.protocol import Protocol, SegmentList, load_parts, load_protocol
from epicsub.validation.record import recorded_scores, write_record, write_table
from epicsub.validation.report import Evaluation, Reference, evaluate, read_reference, write_json
from epicsub.validation.scores import official_scores
from epicsub.validation.show import comparison, show, table
from epicsub.validation.tables import Background, read_background, read_labels, read_segment_ids

__all__ = [
    "Background",
    "Detail",
    "Difference",
    "Evaluation",
    "Model",
    "Protocol",
    "Reference",
    "SegmentList",
    "compare",
    "comparison",
    "detail",
    "evaluate",
    "load_parts",
    "load_protocol",
    "make_lists",
    "official_scores",
    "page_data",
    "read_background",
    "read_labels",
    "read_reference",
    "read_segment_ids",
    "recorded_scores",
    "show",
    "table",
    "write_json",
    "write_page",
    "write_record",
    "write_table",
]
