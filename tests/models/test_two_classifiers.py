"""A second classifier beside any model's own."""

import pytest
import torch
from torch import nn

from epicsub.errors import ModelError
from epicsub.models.build import build_model
from epicsub.models.i3d import two_stream_i3d
from epicsub.models.two_classifiers import TwoClassifiers
from tests.models.test_models import TINY, batch


@pytest.mark.parametrize("name", ["i3d", "frame_lstm", "temporal_relations"])
def test_any_model_takes_one(name: str) -> None:
    torch.manual_seed(0)
    plain = build_model(name, **TINY[name])
    torch.manual_seed(0)
    net = TwoClassifiers(build_model(name, **TINY[name]), 0.0).eval()
    clips = batch(tuple(TINY[name]["modalities"]))
    own = plain.eval()(clips)
    with torch.no_grad():
        output = net(clips)
        second = net.second_logits(own.features)
    # It predicts the mean of both classifiers' probabilities, and the first is the model's own.
    for mean, one, two in (
        (output.verb_logits_BV, own.verb_logits_BV, second.verb_logits_BV),
        (output.noun_logits_BN, own.noun_logits_BN, second.noun_logits_BN),
    ):
        torch.testing.assert_close(mean.exp(), (one.softmax(1) + two.softmax(1)) / 2)
        assert not torch.allclose(one, two)
    assert output.second is None
    torch.testing.assert_close(net.first_logits(own.features).noun_logits_BN, own.noun_logits_BN)
    trained = net.train()(clips)
    assert trained.second.verb_logits_BV.shape == own.verb_logits_BV.shape
    heads = {id(p) for p in net.head_parameters(net)}
    assert heads == {id(p) for n, p in net.named_parameters() if {"verb_head", "noun_head"} & set(n.split("."))}
    assert len(heads) == 2 * len(list(net.head_parameters(plain)))


def test_second_logits_are_the_streams_sum_after_dropout() -> None:
    torch.manual_seed(0)
    net = TwoClassifiers(two_stream_i3d(("rgb", "flow"), 0.0625), 0.5)
    features = {m: torch.randn(4, d) for m, d in net.feature_dims.items()}
    torch.manual_seed(1)
    seen = net.train().second_logits(features)
    torch.manual_seed(1)
    verb = 0.0
    for m, heads in net.second.items():
        verb = verb + heads["verb_head"](nn.functional.dropout(features[m], 0.5))
    torch.testing.assert_close(seen.verb_logits_BV, verb)


def test_a_model_without_heads_is_refused() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.feature_dims = {"rgb": 2}

    with pytest.raises(ModelError, match="verb_head and noun_head"):
        TwoClassifiers(Bare(), 0.0)
