"""Views are left out only where all of them would give the same order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from epicsub.data.annotations import Segment
from epicsub.data.sampling import parse_views
from epicsub.errors import InferenceError
from epicsub.inference.predict import decided, predict, predict_until_decided
from epicsub.models.heads import TwoHeadOutput


def order(verb_V, noun_M, depth):
    """The first `depth` verbs, nouns and pairs, every pair ranked."""
    pairs = np.argsort(-np.outer(verb_V, noun_M), axis=None)[:depth]
    return np.argsort(-verb_V)[:depth].tolist(), np.argsort(-noun_M)[:depth].tolist(), pairs.tolist()


def draw(rng, views, sharpness):
    """(views, classes) probabilities of 7 verbs and 8 nouns."""
    return [rng.dirichlet(np.full(classes, sharpness), views) for classes in (7, 8)]


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 3), st.integers(4, 40))
@settings(max_examples=60, deadline=None)
def test_what_is_decided_no_further_views_change(seed, depth, left, done):
    """Against views drawn at random and against the worst: all mass on one class each, of every pair of classes."""
    rng = np.random.default_rng(seed)
    mean = [rng.dirichlet(np.full(classes, 0.15)) for classes in (7, 8)]
    verb, noun = ((rng.dirichlet(200 * part + 1e-3, done)).sum(0) for part in mean)
    if not decided(verb[None], noun[None], left, depth)[0]:
        return
    before = order(verb, noun, depth)
    for v in range(7):
        for n in range(8):
            assert order(verb + left * np.eye(7)[v], noun + left * np.eye(8)[n], depth) == before
    for _ in range(20):
        more_verb, more_noun = draw(rng, left, 0.1)
        assert order(verb + more_verb.sum(0), noun + more_noun.sum(0), depth) == before


def test_the_bound_is_met_and_not_passed():
    """Nine views for class 0 and one to come: decided. Five and five to come: not, they could all be class 1."""
    verb, noun = np.eye(97)[[0]], np.eye(300)[[0]]
    for done, left, expected in ((9, 1, True), (6, 5, True), (5, 5, False), (1, 0, True)):
        assert decided(done * verb, done * noun, left, 1)[0] == expected
    assert not decided(5 * verb + 4.9 * np.eye(97)[[1]], 9.9 * noun, 0.2, 1)[0]
    assert not decided(9 * verb, 9 * noun, 1, 2)[0], "the second verb is not known"


def test_pairs_of_other_verbs_and_nouns_count():
    """Verbs and nouns are far enough apart, but the pairs (0, 1) and (1, 0) are not, and one view could swap them."""
    verb, noun = np.zeros((1, 97)), np.zeros((1, 300))
    verb[0, :4], noun[0, :4] = (60, 30, 9, 1), (60, 30.05, 8.8, 1)
    assert decided(verb, noun, 0.1, 1)[0]
    assert not decided(verb, noun, 0.1, 2)[0]
    noun[0, :4] = (70, 20, 9, 1)
    assert decided(verb, noun, 0.1, 2)[0]


class Noisy(nn.Module):
    """Logits that depend on the clip's one pixel alone, in steps of seven classes."""

    def forward(self, clips: dict[str, torch.Tensor]) -> TwoHeadOutput:
        first = clips["rgb"][:, 0, 0, 0, 0].long()
        rows = torch.stack([torch.randn(397, generator=torch.Generator().manual_seed(int(n))) for n in first])
        rows[torch.arange(len(first)), first // 10] += 14.0
        rows[torch.arange(len(first)), 97 + first // 10] += 14.0
        return TwoHeadOutput(rows[:, :97], rows[:, 97:], {})


VIEWS = parse_views("3x3+flip@1,2")  # 36 views, six clips of six
SEGMENTS = [Segment(f"P01_01_{n}", "P01", "P01_01", 0.0, 1.0, 1, 2, None, None) for n in range(12)]


def pixel(segment, place):
    """Sure segments show one class in every clip, the others two."""
    number = int(segment.narration_id.rsplit("_", 1)[1])
    index = VIEWS.places().index(place)
    return 10 * number + index % 5 if number % 2 else 10 * (number + index % 2)


def clips_of(some, places):
    """Batches of five segments: six views a clip."""
    for at in range(0, len(some), 5):
        part = some[at : at + 5]
        values = torch.tensor([[pixel(s, p) + v % 3 for p in places for v in range(6)] for s in part])
        clips = values.to(torch.uint8)[:, :, None, None, None, None].expand(-1, -1, 3, 1, 1, 1)
        yield [s.narration_id for s in part], {"rgb": clips}


@pytest.mark.parametrize("depth", [1, 2])
def test_the_best_classes_are_those_of_all_views(depth):
    full = predict(Noisy(), clips_of(SEGMENTS, VIEWS.places()), 3, torch.device("cpu"), "all")
    asked = []

    def loader_of(some, place):
        asked.append(len(some))
        return list(clips_of(some, [place]))

    device = torch.device("cpu")
    stopped, done = predict_until_decided(Noisy(), loader_of, SEGMENTS, VIEWS, depth, device, "some")
    assert stopped.narration_ids.tolist() == full.narration_ids.tolist()
    for row in range(len(SEGMENTS)):
        found = (np.exp(part.astype(float)) for part in (stopped.verb_logprobs[row], stopped.noun_logprobs[row]))
        wanted = (np.exp(part.astype(float)) for part in (full.verb_logprobs[row], full.noun_logprobs[row]))
        assert order(*found, depth) == order(*wanted, depth)
    assert sum(asked) * 6 == done.sum()
    if depth == 1:
        assert asked[0] == 12
        assert 24 <= done.min() < done.max() == 36, "more than half of the views, and all where it is open"
    whole = done == 36
    np.testing.assert_allclose(stopped.verb_logprobs[whole], full.verb_logprobs[whole], rtol=1e-4, atol=1e-4)


def test_a_nan_is_named():
    class Broken(nn.Module):
        def forward(self, clips):
            return TwoHeadOutput(torch.full((6, 97), torch.nan), torch.zeros(6, 300), {})

    with pytest.raises(InferenceError, match="P01_01_0"):
        predict_until_decided(
            Broken(),
            lambda some, place: list(clips_of(some, [place])),
            SEGMENTS[:1],
            VIEWS,
            1,
            torch.device("cpu"),
            "x",
        )
