import numpy as np
import pytest

from epicsub.validation.bootstrap import VideoBootstrap, bootstrap_videos, interval
from epicsub.validation.figures import class_mean


@pytest.fixture
def drawn(make_labels):
    """Labels, hits, and 40 samples of their videos."""
    labels = make_labels(150, videos=9)
    hits = np.random.default_rng(5).uniform(size=150) < 0.6
    return labels, hits, bootstrap_videos(labels["video_id"], samples=40, seed=3)


def segments_of(samples, labels, sample):
    """Rows of one sample, written out: each video's segments as often as it was drawn."""
    names = sorted(set(labels["video_id"]))
    rows = []
    for video, times in zip(names, samples.weight[sample], strict=True):
        rows += int(times) * np.flatnonzero((labels["video_id"] == video).to_numpy()).tolist()
    return rows


def test_samples_hold_whole_videos_as_many_as_there_are(drawn):
    _, _, samples = drawn
    assert samples.videos == 9
    assert (samples.weight.sum(axis=1) == 9).all()
    assert (samples.weight > 1).any()


def test_accuracy_of_each_sample_is_that_of_its_segments(drawn):
    labels, hits, samples = drawn
    some = (labels["participant_id"] == "P01").to_numpy()
    whole, part = samples.accuracy(hits), samples.accuracy(hits, some)
    for sample in range(40):
        rows = segments_of(samples, labels, sample)
        assert whole[sample] == pytest.approx(100 * hits[rows].mean())
        of_part = [row for row in rows if some[row]]
        if of_part:
            assert part[sample] == pytest.approx(100 * hits[of_part].mean())
        else:
            assert np.isnan(part[sample])


def test_class_mean_of_each_sample_is_that_of_its_segments(drawn):
    labels, hits, samples = drawn
    classes = labels["noun_class"].to_numpy()
    found = samples.class_mean(hits, classes)
    absent = 0
    for sample in range(40):
        rows = segments_of(samples, labels, sample)
        shares = []
        for name in sorted(set(classes)):
            drawn_rows = [row for row in rows if classes[row] == name]
            absent += not drawn_rows
            shares.append(hits[drawn_rows or classes == name].mean())  # an absent class keeps its own share
        assert found[sample] == pytest.approx(100 * np.mean(shares))
    assert absent > 0


def test_the_interval_of_a_class_mean_holds_the_figure_where_most_classes_are_rare(make_labels):
    """Leaving out the classes that a sample lacks, every sample would lie above the figure."""
    labels = make_labels(400, videos=60, nouns=300).assign(noun_class=np.r_[np.arange(200), np.zeros(200, int)])
    hits = (labels["noun_class"] == 0).to_numpy() | (np.random.default_rng(0).uniform(size=400) < 0.1)
    samples = bootstrap_videos(labels["video_id"].to_numpy()).class_mean(hits, labels["noun_class"].to_numpy())
    figure = class_mean(hits, labels["noun_class"].to_numpy())
    found = interval(samples)
    assert found.low <= figure <= found.high


def test_many_samples_in_parts_are_the_same(drawn):
    labels, hits, _ = drawn
    samples = bootstrap_videos(labels["video_id"], samples=700)
    found = samples.class_mean(hits, labels["verb_class"].to_numpy())
    assert len(found) == 700
    last = VideoBootstrap(samples.video, samples.weight[-3:])
    np.testing.assert_allclose(found[-3:], last.class_mean(hits, labels["verb_class"].to_numpy()))


def test_same_seed_same_samples(drawn):
    labels, _, samples = drawn
    again = bootstrap_videos(labels["video_id"], samples=40, seed=3)
    assert (again.weight == samples.weight).all()
    assert (bootstrap_videos(labels["video_id"], samples=40, seed=4).weight != samples.weight).any()


def test_segments_that_agree_within_a_video_widen_the_interval():
    videos = np.repeat(np.arange(40), 50)
    rng = np.random.default_rng(0)
    alike, independent = np.repeat(rng.uniform(size=40) < 0.5, 50), rng.uniform(size=2000) < 0.5
    widths = []
    for hits in (alike, independent):
        found = interval(bootstrap_videos(videos).accuracy(hits))
        widths.append(found.high - found.low)
    # 40 independent things against 2,000: sqrt(50) = 7 times as wide.
    assert widths[0] == pytest.approx(4 * 50 / np.sqrt(40), rel=0.15)
    assert 5 < widths[0] / widths[1] < 9


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(150):
        share = np.clip(rng.normal(0.6, 0.15, 60), 0, 1)  # each video has a rate of its own
        hits = rng.uniform(size=60 * 12) < np.repeat(share, 12)
        found = interval(bootstrap_videos(np.repeat(np.arange(60), 12), samples=300).accuracy(hits))
        covered += found.low <= 60 <= found.high
    assert 130 <= covered <= 149


def test_an_interval_of_too_few_figures_is_none():
    assert interval(np.array([np.nan, np.nan, np.nan, 50.0])) is None
    found = interval(np.array([np.nan, 40.0, 50.0]))
    assert 40 <= found.low < found.high <= 50
