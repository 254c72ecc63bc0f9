"""Weights out of the wrappers and from under the prefixes of training loops, wherever weights are read."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.models.state_dict import read_tensors
from epicsub.models.weights import load_published

Tensors = dict[str, Tensor]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def under(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {prefix + name: value for name, value in tensors.items()}


NAMED = {
    "compiled": under("_orig_mod."),
    "parallel": under("module."),
    "parallel and compiled": under("module._orig_mod."),
    "sharded": under("_fsdp_wrapped_module._checkpoint_wrapped_module."),
    "deepspeed": under("_forward_module.model."),
    "compiled inside": lambda t: {name.replace("0.", "0._orig_mod.", 1): value for name, value in t.items()},
    "lightning": under("model."),
    "lightning net": under("net."),
    "lightning, parallel": under("model.module."),
    "averaged": lambda t: {"n_averaged": torch.tensor(3), **under("module.")(t)},
    "beside a loss": lambda t: {"criterion.weight": torch.ones(9), **under("model.")(t)},
}
WRAPPED = {
    "alone": lambda t: t,
    "state_dict": lambda t: {"state_dict": t, "epoch": 3, "pytorch-lightning_version": "2.5", "callbacks": {"a": {}}},
    "model_state": lambda t: {"cfg": "text", "model_state": t},
    "model_state_dict": lambda t: {"model_state_dict": t, "optimizer_state_dict": {"state": {}}},
    "model": lambda t: {"model": t, "args": {"lr": 0.1}},
    "ema first": lambda t: {"state_dict": {k: v + 1 for k, v in t.items()}, "state_dict_ema": t},
    "ema model": lambda t: {"ema": {"module": t}, "step": 5},
}


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("named", NAMED)
def test_a_training_loop_s_checkpoint_fills_the_network(named: str, wrapped: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained, fresh = network(), network()
    torch.save(WRAPPED[wrapped](NAMED[named](trained.state_dict())), tmp_path / "x.pth")
    load_published(fresh, tmp_path / "x.pth", [])
    for name, value in trained.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)


def test_a_prefix_that_no_training_loop_writes_is_not_guessed(tmp_path: Path) -> None:
    torch.save(under("encoder_q.")(network().state_dict()), tmp_path / "x.pth")
    with pytest.raises(ModelError, match=r"unexpected \(7\): encoder_q\.0\.weight"):
        load_published(network(), tmp_path / "x.pth", [])


def test_what_holds_no_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"name": "i3d"}, "epoch": 2}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=r"holds more than tensors \(model, epoch\), and none of the entries known"):
        read_tensors(tmp_path / "x.pth")
