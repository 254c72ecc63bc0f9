"""Times of clips and views of segments: exact cases by hand, and properties over all segments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicsub.data.sampling import (
    Views,
    _dense_times,
    _uniform_times,
    _view_positions,
    clip_times,
    parse_views,
    with_context,
)
from epicsub.errors import DataError

starts = st.integers(0, 360_000).map(lambda hundredths: hundredths / 100)
lengths = st.integers(1, 21_000).map(lambda hundredths: hundredths / 100)
counts = st.integers(1, 64)
shares = st.floats(0, 1)


@given(starts, lengths, counts, st.floats(0.001, 1), shares)
def test_dense_is_inside_ordered_counted_and_repeatable(start, length, frames, stride, position):
    times = _dense_times(start, start + length, frames, stride, position)
    assert times.shape == (frames,)
    assert times.dtype == np.float64
    assert start <= times.min()
    assert times.max() <= start + length
    assert (np.diff(times) >= 0).all()
    np.testing.assert_array_equal(times, _dense_times(start, start + length, frames, stride, position))
    step = min(stride, length / frames)
    np.testing.assert_allclose(np.diff(times), step, atol=1e-9)


@given(starts, lengths, counts, st.integers(0, 2**32))
def test_uniform_has_one_time_in_each_part(start, length, frames, seed):
    offsets = np.random.default_rng(seed).random(frames)
    times = _uniform_times(start, start + length, frames, offsets)
    assert times.shape == (frames,)
    edges = start + np.arange(frames + 1) * length / frames
    assert (times >= edges[:-1] - 1e-9).all()
    assert (times <= edges[1:] + 1e-9).all()
    assert start <= times.min()
    assert times.max() <= start + length


@given(starts, lengths, counts, st.floats(0.001, 1))
def test_positions_reach_both_ends(start, length, frames, stride):
    stop = start + length
    half = min(stride, length / frames) / 2
    assert _dense_times(start, stop, frames, stride, 0.0)[0] == pytest.approx(start + half)
    assert _dense_times(start, stop, frames, stride, 1.0)[-1] == pytest.approx(stop - half)


def test_dense_by_hand():
    np.testing.assert_allclose(_dense_times(10, 20, 4, 0.5, 0.0), [10.25, 10.75, 11.25, 11.75])
    np.testing.assert_allclose(_dense_times(10, 20, 4, 0.5, 0.5), [14.25, 14.75, 15.25, 15.75])
    np.testing.assert_allclose(_dense_times(10, 20, 4, 0.5, 1.0), [18.25, 18.75, 19.25, 19.75])


@pytest.mark.parametrize("position", [0.0, 0.3, 1.0])
def test_segment_shorter_than_a_clip_is_spread_evenly(position):
    np.testing.assert_allclose(_dense_times(1.0, 1.1, 5, 0.5, position), [1.01, 1.03, 1.05, 1.07, 1.09])


@given(starts, lengths, st.floats(0, 5), st.floats(0, 3), st.floats(0, 10))
def test_context_is_inside_the_video_and_no_more_than_the_clip_needs(start, length, seconds, context, room):
    stop = start + length
    new_start, new_stop = with_context(start, stop, seconds, context, stop + room)
    before, after = start - new_start, new_stop - stop
    assert new_start >= 0
    assert new_stop <= stop + room + 1e-9
    assert 0 <= before <= context + 1e-9
    assert 0 <= after <= context + 1e-9
    assert new_stop - new_start <= max(length, seconds) + 1e-6
    full = min(max(0.0, seconds - length), min(context, start) + min(context, room))
    assert before + after == pytest.approx(full, abs=1e-6)  # all there is, up to a clip
    if start >= context <= room:
        assert before == pytest.approx(after, abs=1e-6)


def test_context_by_hand():
    assert with_context(5.0, 5.2, 1.0, 2.0, 9.0) == pytest.approx((4.6, 5.6))
    assert with_context(0.1, 0.3, 1.0, 2.0, 9.0) == pytest.approx((0.0, 1.0))
    assert with_context(8.7, 8.9, 1.0, 2.0, 9.0) == pytest.approx((8.0, 9.0))
    assert with_context(8.9, 9.1, 1.0, 0.1, 9.0) == pytest.approx((8.8, 9.1))  # past its video's end already
    assert with_context(5.0, 7.0, 1.0, 2.0, 9.0) == (5.0, 7.0)


def test_uniform_by_hand():
    np.testing.assert_allclose(_uniform_times(0, 8, 4, 0.5), [1, 3, 5, 7])
    np.testing.assert_allclose(_uniform_times(0, 8, 4, np.array([0, 1, 0.5, 0.25])), [0, 4, 5, 6.5])


def test_view_positions_are_those_of_mm_sada():
    np.testing.assert_allclose(_view_positions(1), [0.5])
    np.testing.assert_allclose(_view_positions(5), [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])


def test_by_name_and_what_is_refused():
    np.testing.assert_array_equal(clip_times(0, 8, 4, "uniform", None, 0.5), _uniform_times(0, 8, 4, 0.5))
    np.testing.assert_array_equal(clip_times(0, 8, 4, "dense", 0.1, 0.5), _dense_times(0, 8, 4, 0.1, 0.5))
    for sampling, stride in (("dense", None), ("uniform", 0.1), ("random", None)):
        with pytest.raises(ValueError, match=f"'{sampling}' with stride {stride}"):
            clip_times(0, 8, 4, sampling, stride, 0.5)
    with pytest.raises(ValueError, match="4 frames from 8 to 0 s"):
        _dense_times(8, 0, 4, 0.1, 0.5)
    with pytest.raises(ValueError, match="0 to 1"):
        _dense_times(0, 8, 4, 0.1, 1.5)
    with pytest.raises(ValueError, match="stride 0"):
        _dense_times(0, 8, 4, 0, 0.5)


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
def test_views_of_a_text(text, views, count):
    assert parse_views(text) == views
    assert views.count == count


FACTORS = st.lists(st.integers(10, 1000).map(lambda n: n / 100), min_size=1, max_size=4, unique=True).map(tuple)


@given(st.integers(1, 999), st.sampled_from([1, 3]), st.booleans(), FACTORS)
def test_views_to_text_and_back(clips, crops, flip, strides):
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
def test_other_views_are_refused_with_the_grammar(text):
    with pytest.raises(DataError, match=r"CLIPSxCROPS.*5x3"):
        parse_views(text)


def test_impossible_views():
    with pytest.raises(DataError, match="2x2"):
        Views(clips=2, crops=2)
