"""MMIR plus: its statistics against direct ones, who goes, and what it never reads."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy

from epicsub.adaptation.discriminator import reversal_strength
from epicsub.adaptation.mmir_plus import MMIRPlus
from epicsub.adaptation.task import ANEW, MEMORY, SHRINKAGE, ClassStatistics, entropy, ranks
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe.adaptation import MMIRPlusAdaptation
from tests.adaptation.batches import batch_of, features, section

DIMS = {"rgb": 6, "flow": 4}


def made(share: float = 0.2) -> MMIRPlus:
    torch.manual_seed(3)
    return MMIRPlus(DIMS, section(MMIRPlusAdaptation, discriminator_hidden=5, share=share), classes=4)


def test_entropy_equals_scipys() -> None:
    logits = torch.randn(7, 5) * 3
    expected = scipy_entropy(logits.double().softmax(1).numpy(), axis=1)
    np.testing.assert_allclose(entropy(logits).numpy(), expected, rtol=1e-5)


def test_ranks() -> None:
    assert ranks(torch.tensor([0.5, -3.0, 7.0, 0.6])).tolist() == [1, 0, 3, 2]


def slow_distance(batches: list[tuple[np.ndarray, np.ndarray]], points: np.ndarray) -> np.ndarray:
    """The same from the definition: weighted means, residuals at the time, an explicit inverse."""
    means, scatter, total, level = {}, 0.0, 0.0, 0.0
    for t, (x, y) in enumerate(batches):
        seen = [(MEMORY ** (t - s), xs, ys) for s, (xs, ys) in enumerate(batches[: t + 1])]
        for c in np.unique(np.concatenate([ys for _, _, ys in seen])):
            top = sum(w * xs[ys == c].sum(0) for w, xs, ys in seen)
            means[c] = top / sum(w * (ys == c).sum() for w, _, ys in seen)
        apart = x - np.stack([means[c] for c in y])
        scatter = MEMORY * scatter + apart.T @ apart
        total = MEMORY * total + len(x)
        anew = t < ANEW or t % ANEW == 0
        level = SHRINKAGE * np.trace(scatter) / len(scatter) if anew else MEMORY * level
    inverse = np.linalg.inv((scatter + level * np.eye(len(scatter))) / total)
    return np.array([min((p - m) @ inverse @ (p - m) for m in means.values()) for p in points])


@pytest.mark.parametrize("steps", [4, ANEW + 1, 3 * ANEW - 1])
@pytest.mark.parametrize(("dtype", "size"), [(torch.float64, 5), (torch.float32, 5), (torch.float32, 64)])
def test_distance_equals_a_direct_solve(steps: int, dtype: torch.dtype, size: int) -> None:
    draw = np.random.default_rng(0)
    batches = [(draw.normal(size=(12, size)) + 2, draw.integers(0, 3, 12)) for _ in range(steps)]
    points = draw.normal(size=(6, size)) * 3
    statistics = ClassStatistics(5, size).to(dtype)  # classes 3 and 4 are never seen, and no point may be near them
    for x, y in batches:
        statistics.update(torch.tensor(x, dtype=dtype), torch.tensor(y))
    found = statistics.distance(torch.tensor(points, dtype=dtype))
    np.testing.assert_allclose(found.numpy(), slow_distance(batches, points), rtol=1e-5)


def test_no_step_factorises_a_matrix_of_the_features_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """But every sixteenth, once the sums are known."""
    sizes: list[int] = []
    plain = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda x: (sizes.append(len(x)), plain(x))[1])
    statistics = ClassStatistics(3, 64)
    for step in range(2 * ANEW):
        generator = torch.Generator().manual_seed(step)
        statistics.update(torch.randn(6, 64, generator=generator), torch.arange(6) % 3)
    assert sizes == [64] * (ANEW + 1) + [6] * (ANEW - 1)


def test_the_least_certain_source_and_the_farthest_target_go() -> None:
    source, target = features(10, 1, DIMS), features(10, 2, DIMS)
    target = {m: f.detach().clone() for m, f in target.items()}
    for m in DIMS:
        target[m][[2, 7]] += 50.0
        target[m].requires_grad_()
    verb = 20.0 * torch.eye(4)[torch.arange(10) % 4]
    noun = 20.0 * torch.eye(3)[torch.arange(10) % 3]
    verb[4] = 0.0  # torn between all verbs
    noun[9] = 0.0  # between all nouns
    output = TwoHeadOutput(verb, noun, source)
    adapted = made().losses(replace(batch_of(source, target), source=output))
    for m in DIMS:
        assert adapted.removed[f"{m}_source"].tolist() == [4, 9]
        assert adapted.removed[f"{m}_target"].tolist() == [2, 7]
    adapted.alignment.backward()
    for m in DIMS:
        assert (source[m].grad.abs().sum(1) == 0).nonzero().flatten().tolist() == [4, 9]
        assert (target[m].grad.abs().sum(1) == 0).nonzero().flatten().tolist() == [2, 7]


@pytest.mark.parametrize(("share", "gone"), [(0.0, 0), (0.2, 3), (0.5, 8)])
def test_the_share_is_of_the_batch(share: float, gone: int) -> None:
    adapted = made(share).losses(batch_of(features(15, 1, DIMS), features(15, 2, DIMS)))
    assert {name: len(positions) for name, positions in adapted.removed.items()} == dict.fromkeys(
        ("rgb_source", "flow_source", "rgb_target", "flow_target"), gone
    )
    assert adapted.agents is None
    assert adapted.classified_B is None


def test_the_reversal_rises_as_the_control_s_does() -> None:
    """The gradient of a run's tenth is that of its end, times what the reversal has by then."""
    found = []
    for progress in (0.1, 1.0):
        source, target = features(10, 1, DIMS), features(10, 2, DIMS)
        made().losses(batch_of(source, target, progress)).alignment.backward()
        found.append(torch.cat([f.grad.flatten() for f in (*source.values(), *target.values())]))
    torch.testing.assert_close(found[0], found[1] * reversal_strength(0.1, 1.0) / reversal_strength(1.0, 1.0))


def test_no_narration_id_is_read() -> None:
    source, target = features(10, 1, DIMS), features(10, 2, DIMS)
    plain = made().losses(batch_of(source, target))
    named = made().losses(batch_of(source, target, source_ids=["outlier"] * 10, target_ids=["outlier"] * 10))
    assert torch.equal(plain.alignment, named.alignment)


def test_a_state_dict_resumes() -> None:
    batches = [batch_of(features(10, s, DIMS), features(10, s + 50, DIMS), step=s) for s in range(3)]
    whole, first = made(), made()
    for batch in batches[:2]:
        whole.losses(batch)
        first.losses(batch)
    second = MMIRPlus(DIMS, section(MMIRPlusAdaptation, discriminator_hidden=5), classes=4)
    second.load_state_dict(first.state_dict())
    assert torch.equal(whole.losses(batches[2]).alignment, second.losses(batches[2]).alignment)


def test_features_of_one_value_do_not_break_it() -> None:
    source, target = ({m: torch.ones(10, d, requires_grad=True) for m, d in DIMS.items()} for _ in range(2))
    adapted = made().losses(batch_of(source, target))
    assert torch.isfinite(adapted.alignment)
