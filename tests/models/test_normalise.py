import torch

from epicsub.models.normalise import from_unit_range, symmetric


def test_bytes_become_minus_one_to_one() -> None:
    clip = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 3, 1, 1).expand(2, 2, 3, 4, 4)
    out = symmetric(2)(clip)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out[0, 1, :, 0, 0], torch.tensor([-1.0, -0.6, 1.0]))
    assert torch.equal(symmetric(2)(clip.float()), out)


def test_unit_range_constants_are_applied_a_channel() -> None:
    frame = torch.full((1, 3, 2, 2), 102, dtype=torch.uint8)  # 0.4
    out = from_unit_range((0.4, 0.2, 0.0), (1.0, 0.5, 0.1))(frame)
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([0.0, 0.4, 4.0]))


def test_constants_travel_with_the_weights() -> None:
    other = symmetric(3)
    other.load_state_dict(from_unit_range((0.1, 0.2, 0.3), (1.0, 2.0, 3.0)).state_dict())
    torch.testing.assert_close(other.mean, torch.tensor([25.5, 51.0, 76.5]))
    torch.testing.assert_close(other.std, torch.tensor([255.0, 510.0, 765.0]))
