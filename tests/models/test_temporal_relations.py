"""Temporal relations against a loop, attention, and the choice of frames."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from epicsub.errors import ModelError
from epicsub.models.heads import Classes
from epicsub.models.temporal_relations import TemporalRelations, choose_frames, domain_attention, relation_tuples


def model(attention: bool = True) -> TemporalRelations:
    torch.manual_seed(0)
    return TemporalRelations({"rgb": 4, "audio": 3}, 5, 6, 7, 0.0, attention, Classes(3, 2)).double()


def clips(B: int = 2, T: int = 5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {m: torch.randn(B, T, d, generator=generator, dtype=torch.float64) for m, d in (("rgb", 4), ("audio", 3))}


@pytest.mark.parametrize(("frames", "size"), [(5, 5), (5, 4), (5, 3), (5, 2), (8, 3)])
def test_tuples_are_in_order_and_evenly_chosen(frames: int, size: int) -> None:
    every = list(combinations(range(frames), size))
    chosen = relation_tuples(frames, size)
    assert len(chosen) == len(set(chosen)) == min(3, len(every))
    assert chosen[0] == every[0]
    places = [every.index(one) for one in chosen]
    assert places == [math.ceil(i * len(every) / len(places)) for i in range(len(places))]


def test_attention_is_one_minus_the_domains_entropy() -> None:
    weights = domain_attention(torch.tensor([[[0.0, 0.0], [100.0, -100.0], [1.0, 0.0]]]))
    p = 1 / (1 + math.exp(-1))
    expected = [1 - math.log(2), 1.0, 1 + p * math.log(p) + (1 - p) * math.log(1 - p)]
    assert weights[0].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("attention", [True, False])
def test_the_model_equals_a_loop(attention: bool) -> None:
    net, x = model(attention), clips()
    output = net(x)
    verb = torch.zeros(2, 3).double()
    for m in ("rgb", "audio"):
        stream = net.stream(m)
        for b in range(2):
            frames = [torch.relu(stream.frame(x[m][b, t])) for t in range(5)]
            video = torch.zeros(7).double()
            for r, size in enumerate((5, 4, 3, 2)):
                relation = sum(
                    torch.relu(stream.relations[r](torch.cat([frames[t] for t in chosen])))
                    for chosen in relation_tuples(5, size)
                )
                p = stream.relation_domains[r](relation).softmax(0)
                video = video + (1 + (1 + (p * p.log()).sum() if attention else 0)) * relation
            torch.testing.assert_close(output.features[m][b], video)
            verb[b] += stream.verb_head(video)
    torch.testing.assert_close(output.verb_logits_BV, verb)
    assert output.levels["rgb"].frames_BTS.shape == (2, 5, 6)
    assert output.levels["audio"].relations_BRH.shape == (2, 4, 7)


def test_frames_are_chosen_from_equal_parts() -> None:
    x = torch.arange(25.0)[None, :, None].expand(64, -1, 1)
    assert choose_frames(x, 5, at_random=False)[0, :, 0].tolist() == [2, 7, 12, 17, 22]
    torch.manual_seed(0)
    drawn = choose_frames(x, 5, at_random=True)[..., 0]
    assert torch.equal(drawn // 5, torch.arange(5.0).expand(64, -1))
    assert {int(value) for value in drawn.unique()} == set(range(25))
    assert choose_frames(x, 25, at_random=True) is x


def test_refusals() -> None:
    with pytest.raises(ModelError, match="at least 2 frames, not 1"):
        TemporalRelations({"rgb": 4}, segments=1)
    with pytest.raises(ModelError, match="lacks audio"):
        model()({"rgb": clips()["rgb"]})
    with pytest.raises(ModelError, match=r"5 frames or more.*rgb \(2, 4, 4\), audio \(2, 3\)"):
        model()({"rgb": clips()["rgb"][:, :4], "audio": clips()["audio"][:, 0]})
