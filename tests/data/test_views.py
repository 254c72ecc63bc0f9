"""The view specification."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicsub.data.views import Views, parse_views
from epicsub.errors import DataError


@pytest.mark.parametrize(
    ("text", "views", "count"),
    [
        ("1x1", Views(1, 1, False), 1),
        ("5x3+flip", Views(5, 3, True), 30),
        ("10x3", Views(10, 3, False), 30),
        ("5x3+flip@0.8,1,1.25", Views(5, 3, True, (0.8, 1.0, 1.25)), 90),
        ("2x1@1.5", Views(2, 1, False, (1.5,)), 2),
    ],
)
def test_examples(text, views, count):
    assert parse_views(text) == views
    assert views.count == count


FACTORS = st.lists(st.integers(10, 1000).map(lambda n: n / 100), min_size=1, max_size=4, unique=True).map(tuple)


@given(st.integers(1, 999), st.sampled_from([1, 3]), st.booleans(), FACTORS)
def test_text_and_back(clips, crops, flip, strides):
    views = Views(clips, crops, flip, strides)
    assert parse_views(str(views)) == views


@given(st.integers(1, 9), st.sampled_from([1, 3]), st.booleans(), FACTORS)
def test_places_are_every_clip_at_every_factor(clips, crops, flip, strides):
    views = Views(clips, crops, flip, strides)
    assert len(set(views.places())) == len(views.places()) == views.count // views.each
    assert {factor for factor, _ in views.places()} == set(strides)
    assert all(0 < position < 1 for _, position in views.places())


WRONG = ["", "5", "5x2", "0x1", "x3", "5x3flip", "5x3+flip+flip", " 5x3", "5x3+", "-1x1"]
WRONG_FACTORS = [
    "5x3@",
    "5x3@1,",
    "5x3@1,1",
    "5x3@1,1.0",
    "5x3@0",
    "5x3@0.05",
    "5x3@11",
    "5x3@-1",
    "5x3@1+flip",
    "5x3@1e0",
]


@pytest.mark.parametrize("text", WRONG + WRONG_FACTORS)
def test_others_are_refused_with_the_grammar(text):
    with pytest.raises(DataError, match=r"CLIPSxCROPS.*5x3"):
        parse_views(text)


def test_impossible_views():
    with pytest.raises(DataError, match="2x2"):
        Views(clips=2, crops=2)
