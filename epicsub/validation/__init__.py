"""Predictions and labels in, the organisers' scores out. numpy and pandas only."""

from epicsub.validation.bootstrap import Difference, compare
from epicsub.validation.detail import Detail, detail
from epicsub.validation.lists import make_lists
from epicsub.validation.page import Model, page_data, write_page
from epicsub.validation.protocol import RECORDS, Protocol, SegmentList, find_protocol, load_parts, load_protocol
from epicsub.validation.record import recorded_scores, write_record, write_table
from epicsub.validation.report import Evaluation, Reference, evaluate, read_reference
from epicsub.validation.show import comparison, show, table
from epicsub.validation.tables import Background, read_background, read_labels

__all__ = [
    "RECORDS",
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
    "find_protocol",
    "load_parts",
    "load_protocol",
    "make_lists",
    "page_data",
    "read_background",
    "read_labels",
    "read_reference",
    "recorded_scores",
    "show",
    "table",
    "write_page",
    "write_record",
    "write_table",
]
