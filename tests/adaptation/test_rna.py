"""Relative norm alignment against a loop, and what it does not look at."""

import math

import pytest
import torch
from torch import Tensor

from epicsub.adaptation import RNA
from epicsub.errors import AdaptationError
from epicsub.recipe.unlabelled import RNAAdaptation
from tests.adaptation.batches import batch_of, features, section

DIMS = {"rgb": 6, "flow": 4, "audio": 3}


def losses_of(source: dict[str, Tensor], target: dict[str, Tensor]):
    return RNA({m: f.shape[1] for m, f in source.items()}, section(RNAAdaptation)).losses(batch_of(source, target))


def slow(*domains: dict[str, Tensor]) -> float:
    total = 0.0
    for of in domains:
        mean = [sum(math.sqrt(sum(x * x for x in row)) for row in f.tolist()) / len(f) for f in of.values()]
        for i, one in enumerate(mean):
            for other in mean[i + 1 :]:
                total += (math.log(one) - math.log(other)) ** 2
    return total


@pytest.mark.parametrize("names", [("rgb", "flow"), ("rgb", "flow", "audio")])
def test_pairs_and_domains_are_added(names: tuple[str, ...]) -> None:
    dims = {name: DIMS[name] for name in names}
    source, target = features(5, 1, dims), features(7, 2, dims, shift=1.0)
    losses = losses_of(source, target)
    assert losses.alignment.item() == pytest.approx(slow(source, target), rel=1e-5)
    norms = {m: f.norm(dim=1).mean().item() for m, f in target.items()}
    assert losses.logs["target/rgb_over_flow_norm"].item() == pytest.approx(norms["rgb"] / norms["flow"], rel=1e-5)


def test_zero_where_norms_agree_and_alone_there_whatever_their_scale() -> None:
    """Mean norms, not directions or lengths: a common factor changes nothing, a factor of one modality does."""
    source, target = features(5, 1, DIMS), features(7, 2, DIMS)
    even = [{m: f.detach() / f.detach().norm(dim=1).mean() for m, f in of.items()} for of in (source, target)]
    assert losses_of(*even).alignment.item() == pytest.approx(0, abs=1e-10)
    longer = [{m: 7.0 * f for m, f in of.items()} for of in (source, target)]
    assert losses_of(*longer).alignment.item() == pytest.approx(losses_of(source, target).alignment.item(), rel=1e-4)
    for domain in (0, 1):
        uneven = [dict(of) for of in even]
        uneven[domain]["rgb"] = 2 * uneven[domain]["rgb"]
        assert losses_of(*uneven).alignment.item() == pytest.approx(2 * math.log(2) ** 2, rel=1e-5)


def test_the_gradient_reaches_every_modality_and_survives_features_of_zeros() -> None:
    source, target = features(5, 1, DIMS), features(7, 2, DIMS)
    losses_of(source, target).alignment.backward()
    assert all(f.grad.abs().sum() > 0 for of in (source, target) for f in of.values())
    dead = {m: torch.zeros(5, d, requires_grad=True) for m, d in DIMS.items()}
    losses = losses_of(dead, features(7, 2, DIMS))
    losses.alignment.backward()
    assert losses.alignment.isfinite()
    assert all(f.grad.isfinite().all() for f in dead.values())


def test_one_modality_is_refused() -> None:
    with pytest.raises(AdaptationError, match="two modalities or more; there is rgb"):
        RNA({"rgb": 6}, section(RNAAdaptation))
