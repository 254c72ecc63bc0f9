"""Predictions and labels in, the organisers' scores out. numpy and pandas only."""

from epicsub.validation.bootstrap import Difference, compare
from epicsub.validation.detail import detail
from epicsub.validation.lists import make_lists
from epicsub.validation.page import Model, page_data, write_page
from epicsub.validation.protocol import RECORDS, Protocol, find_protocol, load_parts, load_protocol
from epicsub.validation.record import recorded_scores, write_record, write_table
from epicsub.validation.report import Reference, evaluate, read_reference
from epicsub.validation.show import comparison, show
from epicsub.validation.tables import Background, read_background

__all__ = [
    "RECORDS",
    "Background",
    "Difference",
    "Model",
    "Protocol",
    "Reference",
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
    "read_reference",
    "recorded_scores",
    "show",
    "write_page",
    "write_record",
    "write_table",
]
