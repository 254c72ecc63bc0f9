"""The view specification."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicsub.data.views import Views, parse_views
from epicsub.errors import DataError


@pytest.mark.parametrize(
    ("text", "views", "count"),
    [("1x1", Views(1, 1, False), 1), ("5x3+flip", Views(5, 3, True), 30), ("10x3", Views(10, 3, False), 30)],
)
def test_examples(text, views, count):
    assert parse_views(text) == views
    assert views.count == count


@given(st.integers(1, 999), st.sampled_from([1, 3]), st.booleans())
def test_text_and_back(clips, crops, flip):
    assert parse_views(str(Views(clips, crops, flip))) == Views(clips, crops, flip)


@pytest.mark.parametrize("text", ["", "5", "5x2", "0x1", "x3", "5x3flip", "5x3+flip+flip", " 5x3", "5x3+", "-1x1"])
def test_others_are_refused_with_the_grammar(text):
    with pytest.raises(DataError, match=r"CLIPSxCROPS.*5x3"):
        parse_views(text)


def test_impossible_views():
    with pytest.raises(DataError, match="2x2"):
        Views(clips=2, crops=2)
