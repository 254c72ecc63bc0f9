"""What the small benchmarks conclude: gains over models as clusters, one grid, and agents that were exercised."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from epicsub.adaptation import METHODS, MMIR
from epicsub.recipe import load_recipe
from epicsub.recipe.adaptation import MMIRAdaptation
from tests.adaptation.batches import batch_of, features, section


@pytest.fixture(autouse=True)
def benchmarks(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))


def run(action: float) -> dict[str, Any]:
    return {"action": action, "verb": action + 1, "noun": action + 2}


def test_intervals_are_over_models_whatever_the_runs_of_each() -> None:
    """Against scipy; a hundred more runs of the same models tell nothing new."""
    from gains import gain_over

    draw = np.random.default_rng(0)
    effects = draw.normal(1.0, 2.0, 10)
    arm = {m: [run(50 + effects[m] + d) for d in (-0.5, 0.5)] for m in range(10)}
    control = {m: [run(50.0), run(50.0)] for m in range(10)}
    found = gain_over(arm, control, "action")
    expected = stats.t.interval(0.95, 9, effects.mean(), stats.sem(effects))
    assert (found.mean, found.low, found.high) == pytest.approx((effects.mean(), *expected))
    assert found.models == 10
    many = gain_over({m: of * 100 for m, of in arm.items()}, {m: of * 100 for m, of in control.items()}, "action")
    assert (many.low, many.high) == pytest.approx((found.low, found.high))


def test_agents_that_a_perfect_reward_did_not_teach_have_no_gain() -> None:
    from gains import figures_of, row

    arm, control = ({m: [run(value + m)] for m in range(3)} for value in (60.0, 50.0))
    for power, exercised in ((0.59, False), (0.6, True), (None, True)):
        figures = figures_of("mmir", arm, control, power)
        assert figures["mmir_action"] == pytest.approx(61.0)
        assert ("mmir_gain" in figures, "mmir_gain_low" in figures) == (exercised, exercised)
        told = row("mmir", figures, power)
        assert ("+10.00 (+10.00 to +10.00)" in told) == exercised
        assert ("not exercised (power 0.59)" in told) == (not exercised)


def test_a_run_that_diverged_is_counted_and_told_with_its_last_finite_score() -> None:
    from gains import figures_of

    arm = {0: [run(60.0)], 1: [{"diverged": "step 7", "last_finite": run(20.0)}], 2: [run(64.0)]}
    figures = figures_of("mmd", arm, {m: [run(50.0)] for m in range(3)}, None)
    assert figures["mmd_diverged"] == 1.0
    assert figures["mmd_diverged_last_finite_action"] == 20.0
    assert figures["mmd_action"] == 62.0
    assert figures["mmd_gain"] == 12.0


def test_every_arm_has_the_same_grid_and_is_tried_only_where_it_differs(repository: Path) -> None:
    """And every one of its settings is a recipe on features and on video."""
    from arms import ARMS, grid, told_apart
    from features import FEATURES
    from kitchens import KITCHENS
    from runner import TINY, Job, changes_of, settings_of

    for benchmark in (FEATURES, KITCHENS):
        whole = grid(benchmark.rates)
        assert len(whole) == 4 * len(benchmark.rates)
        for name, arm in ARMS.items():
            if arm.attention is not None and not benchmark.relations:
                continue
            tried = settings_of(arm, benchmark.rates, benchmark.rate)
            assert len(set(tried)) == len(tried)
            if not arm.labelled:
                assert set(tried) == {told_apart(arm, values) for values in whole}
            for values in tried:
                words = changes_of(benchmark, Job(name, values, 3, 1, Path("out")), "outliers.csv")
                recipe = load_recipe(repository / TINY / benchmark.recipes[arm.reads_target], words).recipe
                assert recipe.seed == 31
                stage = recipe.train.stages[1]
                assert stage.source_batch == benchmark.source_batch * (2 if name == "mm_sada" else 1)
                assert (stage.target_batch > 0) == arm.adapts
                assert stage.learning_rate == values.rate
                if arm.strength:
                    assert getattr(recipe.adaptation, arm.strength) == values.strength
                if arm.adapts:
                    assert stage.class_weight == values.class_weight


def test_the_tuning_models_choose_and_are_not_reported(tmp_path: Path) -> None:
    import json

    from arms import Values
    from runner import TUNING, Job, choose, kept_in

    low, high = Values(1.0, 0.2, 1e-3), Values(0.2, 1.0, 1e-3)
    for values, score in ((low, 40.0), (high, 45.0)):
        for model in (*TUNING, 0):
            job = Job("mmd", values, model, 0, tmp_path)
            kept_in(job).parent.mkdir(parents=True, exist_ok=True)
            kept_in(job).write_text(json.dumps(run(score if model in TUNING else 100 - score)))
    chosen, scored = choose({"mmd": [low, high]}, tmp_path)
    assert chosen == {"mmd": high}
    assert scored == {"mmd": {"1 / 0.2 / 0.001": 40.0, "0.2 / 1 / 0.001": 45.0}}
    assert min(TUNING) >= 100


class Sees(nn.Module):
    """Q-values that are the first entry of each candidate."""

    def forward(self, state_KND: torch.Tensor) -> torch.Tensor:
        return state_KND[..., 0]


def test_greedy_precision_is_one_for_who_sees_and_a_fifth_for_who_does_not() -> None:
    from power import SETS, greedy_precision

    draw = torch.Generator().manual_seed(0)
    planted = torch.rand(20_000, generator=draw) < 0.1  # so many that hardly one is met twice
    blind = torch.randn(20_000, 4, generator=draw)
    seen = blind.clone()
    seen[:, 0] = planted.float()
    assert greedy_precision(Sees(), seen, planted, 5, 0) == 1.0
    deviation = (0.2 * 0.8 / SETS) ** 0.5
    assert greedy_precision(Sees(), blind, planted, 5, 0) == pytest.approx(0.2, abs=4 * deviation)


def test_a_perfect_reward_pays_for_what_is_planted_and_for_nothing_else() -> None:
    from power import perfect_rewards

    names = {"source_ids": [f"s{i}" for i in range(10)], "target_ids": [f"t{i}" for i in range(10)]}
    dims = {"rgb": 6, "flow": 4}
    with perfect_rewards({"s2", "s7", "t1"}):
        method = METHODS[MMIRAdaptation](dims, section(MMIRAdaptation, epsilon=1.0))
        losses = method.losses(batch_of(features(10, 1, dims), features(10, 2, dims), **names))
        rewards = method.instance_rewards(
            *(batch_of(features(10, s, dims), features(10, s, dims)).source for s in (1, 2))
        )
    assert METHODS[MMIRAdaptation] is MMIR
    assert set(losses.removed) == {f"{m}_{d}" for m in dims for d in ("source", "target")}
    for modality in dims:
        assert rewards[f"{modality}_source"].tolist() == [1.0 if i in (2, 7) else -1.0 for i in range(10)]
        assert rewards[f"{modality}_target"].tolist() == [1.0 if i == 1 else -1.0 for i in range(10)]
