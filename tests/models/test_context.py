"""Model context: what masked places, order and times may change, the auxiliary loss, and a label of a neighbour."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from epicsub.data.batch import LabelledClipBatch, Labels
from epicsub.errors import ModelError
from epicsub.models.build import build_model
from epicsub.models.context import Context
from epicsub.training.losses import Criterion, HeadLoss

DIMS = {"rgb": 6, "flow": 4}


def model(seed: int = 0, **settings: Any) -> Context:
    torch.manual_seed(seed)
    given = {"window": 5, "width": 16, "heads": 4, "layers": 2} | settings
    made = build_model("context", list(DIMS), dims=DIMS, **given)
    assert isinstance(made, Context)
    return made


def window(B: int = 3, W: int = 5, seed: int = 1) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    clips = {name: torch.randn(B, W, dim, generator=draw) for name, dim in DIMS.items()}
    start = torch.rand(B, W, 1, generator=draw).sort(dim=1).values - 0.5
    return clips | {
        "present": torch.ones(B, W, dtype=torch.bool),
        "seconds": torch.cat([start, start + torch.rand(B, W, 1, generator=draw)], dim=2),
    }


def verbs(net: Context, clips: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return net.eval()(clips).verb_logits_BV


@pytest.mark.parametrize("position", ["index", "interval", "both"])
def test_what_masked_places_hold_changes_nothing(position: str) -> None:
    net, clips = model(position=position), window()
    clips["present"][:, 3:] = False
    expected = verbs(net, clips)
    for name in (*DIMS, "seconds"):
        clips[name][:, 3:] = torch.nan
    assert torch.equal(verbs(net, clips), expected)
    clips["present"][:, 1] = False
    assert not torch.equal(verbs(net, clips), expected)


@pytest.mark.parametrize("position", ["index", "interval", "both"])
def test_a_window_of_one_is_the_middle_alone(position: str) -> None:
    """The same weights: all neighbours masked, or none there."""
    net, clips = model(position=position), window()
    clips["present"][:] = torch.tensor([False, False, True, False, False])
    one = model(window=1, position=position)
    weights = {n: v[2:3] if n == "place" else v for n, v in net.state_dict().items()}
    one.load_state_dict(weights)
    middle = {name: x[:, 2:3] for name, x in clips.items()}
    torch.testing.assert_close(verbs(one, middle), verbs(net, clips), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("position", ["index", "interval", "both"])
def test_order_counts_with_places_and_time_with_intervals(position: str) -> None:
    """Rows exchanged with all that belongs to them, times exchanged alone, features exchanged alone."""
    net, clips = model(position=position), window()
    order = torch.tensor([4, 0, 2, 1, 3])
    rows = {name: x[:, order] for name, x in clips.items()}
    assert torch.allclose(verbs(net, rows), verbs(net, clips), atol=1e-6) == (position == "interval")
    times = clips | {"seconds": clips["seconds"][:, order]}
    assert torch.equal(verbs(net, times), verbs(net, clips)) == (position == "index")
    features = clips | {name: clips[name][:, order] for name in DIMS}
    assert not torch.allclose(verbs(net, features), verbs(net, clips), atol=1e-6)


def test_neighbours_are_a_set_without_places() -> None:
    net, clips = model(position="index"), window()
    with torch.no_grad():
        net.place.zero_()
    order = torch.tensor([4, 0, 2, 1, 3])
    exchanged = clips | {name: clips[name][:, order] for name in DIMS}
    torch.testing.assert_close(verbs(net, exchanged), verbs(net, clips), atol=1e-6, rtol=1e-5)


def criterion(weight: float) -> Criterion:
    heads = {"verb": HeadLoss(torch.ones(97)), "noun": HeadLoss(torch.ones(300))}
    return Criterion(heads, {"verb": 1.0, "noun": 1.0}, window=weight)


def test_the_auxiliary_loss_is_over_present_tokens_by_their_own_labels() -> None:
    net, clips = model(dropout=0.0, input_dropout=0.0).train(), window()
    clips["present"][1, 4] = False
    draw = torch.Generator().manual_seed(0)
    verb, noun = torch.randint(97, (3, 5), generator=draw), torch.randint(300, (3, 5), generator=draw)
    verb[1, 4] = noun[1, 4] = -1
    labels = Labels(verb_B=verb[:, 2], noun_B=noun[:, 2], window_verb_BW=verb, window_noun_BW=noun)
    batch = LabelledClipBatch(narration_ids=["a", "b", "c"], clips=clips, labels=labels)
    output = net(clips)
    expected = F.cross_entropy(output.verb_logits_BV, verb[:, 2]) + F.cross_entropy(output.noun_logits_BN, noun[:, 2])
    assert criterion(0.0)(output, batch).item() == pytest.approx(expected.item(), rel=1e-6)
    for logits, label in ((output.token_verb_logits_BLV, verb), (output.token_noun_logits_BLN, noun)):
        terms = [
            -logits[b, m * 5 + w].log_softmax(0)[label[b, w]]
            for b in range(3) for m in range(2) for w in range(5) if clips["present"][b, w]
        ]  # fmt: skip
        assert len(terms) == 28
        expected = expected + 0.3 * torch.stack(terms).mean()
    assert criterion(0.3)(output, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    assert net.eval()(clips).token_verb_logits_BLV is None


@pytest.mark.parametrize(("width", "learns"), [(3, True), (1, False)])
def test_a_label_that_only_the_next_segment_tells(width: int, learns: bool) -> None:
    """Ten classes: above 90 % with a window of three, near chance with the segment alone."""
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(10, (600,), generator=draw)
    codes = 2 * torch.randn(10, 6, generator=draw)
    x = torch.randn(600, 3, 6, generator=draw)
    x[:, 2] = codes[label] + 0.1 * torch.randn(600, 6, generator=draw)
    x = x[:, 1:2] if width == 1 else x
    torch.manual_seed(0)
    net = Context({"rgb": 6}, width, 16, 1, 4, "index", 0.0, 0.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(120):
        rows = torch.arange(50) + 50 * (step % 8)
        loss = F.cross_entropy(net({"rgb": x[rows]}).verb_logits_BV, label[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = (verbs(net, {"rgb": x[400:]}).argmax(1) == label[400:]).float().mean().item()
    assert (right > 0.9) if learns else (right < 0.25)


def test_what_does_not_fit_is_refused() -> None:
    net, clips = model(), window()
    with pytest.raises(ModelError, match=r"rgb is \(3, 4, 6\), expected \(B, 5, 6\)"):
        net(clips | {"rgb": clips["rgb"][:, :4]})
    without = copy.copy(clips)
    del without["seconds"]
    with pytest.raises(ModelError, match="seconds is missing"):
        net(without)
    assert model(position="index").eval()(without).verb_logits_BV.shape == (3, 97)
    for wrong in ({"window": 4}, {"heads": 3}):
        with pytest.raises(ModelError, match="an odd window and heads that divide the width"):
            model(**wrong)
