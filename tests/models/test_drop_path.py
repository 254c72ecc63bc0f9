"""Stochastic depth: blocks are left out in training, with the probability that was asked for, and never after it."""

import pytest
import torch

from epicsub.models.build import build_model

BUILT = {
    "frame_mean": {"backbone": "test_convnext", "weights": None},
    "mvit_v2": {"variant": "tiny", "weights": {"rgb": None}, "frames": 4, "size": 32},
    "video_swin": {"variant": "tiny", "weights": {"rgb": None}, "frames": 4, "size": 32},
}


@pytest.mark.parametrize("name", BUILT)
def test_blocks_are_left_out_in_training_alone(name: str) -> None:
    clips = {"rgb": torch.randint(256, (6, 3, 4, 32, 32), dtype=torch.uint8)}
    found = {}
    for drop_path in (0.0, 0.9):
        torch.manual_seed(0)
        model = build_model(name, ["rgb"], dropout=0.0, drop_path=drop_path, **BUILT[name])
        with torch.no_grad():
            found[drop_path] = [model.train()(clips).verb_logits_BV for _ in range(2)]
            found[drop_path].append(model.eval()(clips).verb_logits_BV)
    assert torch.equal(found[0.0][0], found[0.0][1])
    torch.testing.assert_close(found[0.0][0], found[0.0][2])
    assert not torch.equal(found[0.9][0], found[0.9][1])
    torch.testing.assert_close(found[0.9][2], found[0.0][2])  # the same weights
