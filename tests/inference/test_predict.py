"""Views are averaged as probabilities, and come out as log-probabilities."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from epicsub.errors import InferenceError
from epicsub.inference.predict import mean_over_views, predict
from epicsub.inference.targets import resolve_target, resolve_targets
from epicsub.models.heads import TwoHeadOutput


def test_mean_over_views_equals_the_plain_mean_of_softmaxes() -> None:
    logits = np.random.default_rng(0).normal(0, 30, (3, 4, 7))  # segments, views, classes
    plain = np.zeros((3, 7))
    for segment in range(3):
        for view in range(4):
            exponentials = np.exp(logits[segment, view] - logits[segment, view].max())
            plain[segment] += exponentials / exponentials.sum() / 4
    found = mean_over_views(torch.tensor(logits.reshape(12, 7)), 3)
    np.testing.assert_allclose(np.exp(found.numpy()), plain, rtol=1e-4, atol=1e-7)


class Echo(nn.Module):
    """Verb logits count up from the clip's first pixel; noun logits are the same, or NaN where it is 255."""

    def forward(self, clips: dict[str, torch.Tensor]) -> TwoHeadOutput:
        first = clips["rgb"][:, 0, 0, 0, 0].float()
        verb = torch.nn.functional.one_hot(first.long() % 97, 97) * 9.0
        noun = torch.where(first[:, None] == 255, torch.nan, torch.zeros(len(first), 300))
        return TwoHeadOutput(verb, noun, {})


def batch(values: list[int], views: int = 2) -> tuple[list[str], dict[str, torch.Tensor]]:
    clips = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1, 1, 1).expand(-1, views, 3, 1, 1, 1)
    return [f"P01_01_{value}" for value in values], {"rgb": clips}


def test_rows_follow_their_ids() -> None:
    found = predict(Echo(), [batch([5, 3]), batch([8])], 2, torch.device("cpu"), "test")
    assert found.narration_ids.tolist() == ["P01_01_5", "P01_01_3", "P01_01_8"]
    assert found.verb_logprobs.argmax(1).tolist() == [5, 3, 8]


def test_a_nan_is_named_and_never_averaged_away() -> None:
    with pytest.raises(InferenceError, match="P01_01_255"):
        predict(Echo(), [batch([1, 255])], 1, torch.device("cpu"), "test")


def test_every_word_that_fits_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InferenceError) as caught:
        resolve_targets([str(tmp_path / "a.txt"), "gone", "lost"], tmp_path)
    assert all(word in str(caught.value) for word in ("a.txt", "gone", "lost", "no runs yet"))


def test_the_same_file_twice_is_refused_and_equal_names_become_paths(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.npz").write_bytes(b"")
    texts = [str(tmp_path / folder / "x.npz") for folder in ("a", "b")]
    assert [target.name for target in resolve_targets(texts)] == texts
    assert resolve_target(texts[0]).name == "x"
    with pytest.raises(InferenceError, match="named 2 times"):
        resolve_targets([texts[0], texts[0]])
