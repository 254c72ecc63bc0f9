"""MMIR: which agents are on, and settings that cannot be."""

import pytest
import torch

from epicsub.adaptation import MMIR, Adversarial
from epicsub.errors import AdaptationError
from tests.adaptation.batches import batch_of
from tests.adaptation.mmir_pieces import DIMS, EVERY, features, method, step

# --- switches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [[], ["rgb_source"], ["flow_target"], EVERY[:2], ["rgb_target", "flow_source"], EVERY])
def test_each_agent_switches_by_itself(on: list[str]) -> None:
    """Rows of the paper's Table 2: what is on does the same whatever else is on."""
    one, full = method(agents=on), method()
    for number in range(6):
        losses, all_on = step(one, number, B=15), step(full, number, B=15)
        assert set(losses.removed) == set(on)
        assert {name.split("/")[0] for name in losses.logs} == {"reversal", *DIMS, *on}
        for name in on:
            assert torch.equal(losses.removed[name], all_on.removed[name])
    assert len(list(one.agent_parameters())) == 4 * len(on)
    assert (losses.agents is None) == (not on)
    source, target = features(15, 50), features(15, 51)
    losses = one.losses(batch_of(source, target, 0.5, 6, torch.Generator().manual_seed(6)))
    losses.alignment.backward()
    for m in DIMS:
        for domain, f in (("source", source), ("target", target)):
            with_gradient = f[m].grad.any(dim=1).sum().item()
            assert with_gradient == (12 if f"{m}_{domain}" in on else 15)


def test_one_modality_and_three() -> None:
    for dims in ({"audio": 3}, {"rgb": 6, "flow": 4, "audio": 3}):
        one = method(dims=dims)
        losses = one.losses(batch_of(features(10, 1, dims), features(10, 2, dims)))
        assert set(losses.removed) == {f"{m}_{domain}" for m in dims for domain in ("source", "target")}


@pytest.mark.parametrize("on", [EVERY, ["rgb_source", "rgb_target"], ["flow_target"]])
def test_refined_instances_in_the_class_loss_are_an_option(on: list[str]) -> None:
    assert step(method(agents=on), 0, B=20).classified_B is None
    losses = step(method(agents=on, class_instances="kept"), 0, B=20)
    taken = {p for name, positions in losses.removed.items() if "source" in name for p in positions.tolist()}
    assert losses.classified_B.tolist() == [position not in taken for position in range(20)]
    assert losses.classified_B.dtype == torch.bool


def test_kept_sets_differ_between_modalities() -> None:
    losses = step(method(), 0, B=40)
    assert losses.removed["rgb_source"].tolist() != losses.removed["flow_source"].tolist()


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_batch_below_a_candidate_set_is_refused() -> None:
    with pytest.raises(AdaptationError, match=r"candidate set of 5; got rgb_source: 4, flow_source: 4"):
        method().losses(batch_of(features(4, 0), features(5, 1), 0.5, 0, torch.Generator()))
    method(agents=["rgb_target"]).losses(batch_of(features(4, 0), features(5, 1), 0.5, 0, torch.Generator()))


def test_methods_share_their_four_functions() -> None:
    for name in ("losses", "after_step", "alignment_parameters", "agent_parameters"):
        assert callable(getattr(MMIR, name))
        assert callable(getattr(Adversarial, name))
