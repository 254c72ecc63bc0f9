"""A network must not be able to tell the order by anything but what happens: on clips that hold nothing, it is chance.

Each network is small and its training short, but the test is of the input: where a shortcut is left in, the same
network and training find it, which the last test of each kind shows.
"""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.pretext.order import (
    JointHead,
    OrderTask,
    draw_labels,
    draw_orders,
    even_labels,
    make_task,
    order_loss,
    shuffled_pieces,
    whole_clip,
)
from epicsub.pretext.policy import class_probabilities
from epicsub.pretext.shuffle import ShuffleSettings

STEPS, BATCH, SIDE, FRAMES = 300, 16, 16, 4
TEMPORAL, SPATIAL = (make_task(name, 2, 0, 6, "kmeans", seed=0) for name in ("temporal", "spatial"))


class Small(nn.Module):
    """Two convolutions that see time and place, and the joint head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv3d(3, 16, (1, 5, 5), stride=(1, 2, 2), padding=(0, 2, 2)), nn.ReLU(),
            nn.Conv3d(16, 16, (3, 3, 3), stride=(1, 2, 2), padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool3d((FRAMES, 2, 2)), nn.Flatten(),
        )  # fmt: skip
        self.head = JointHead(16 * FRAMES * 4, classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        return self.head(self.trunk((clip_BCTHW - 127.5) / 64))


def error_after_training(task: OrderTask, clips: object, settings: ShuffleSettings, items: int = 480) -> float:
    """Train on fresh clips, then the error on other ones, classes even."""
    torch.manual_seed(0)
    network = Small(len(task.orders_Nn))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(1)
    even_G = torch.zeros(task.groups)

    def seen(label_B: Tensor) -> Tensor:
        draw = draw_orders(task, label_B, settings, generator)
        read = clips(len(label_B), settings.frames_read, generator)  # type: ignore[operator]
        return whole_clip(task, shuffled_pieces(task, read, draw, settings, is_color=True), SIDE)

    for _ in range(STEPS):
        label_B, _ = draw_labels(task, BATCH, even_G, generator)
        loss = order_loss(network(seen(label_B)), label_B, class_probabilities(task.group_N, even_G))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        label_V = even_labels(task, items, generator)
        answers = torch.cat([network(seen(part)).argmax(1) for part in label_V.split(60)])
    return float((answers != label_V).double().mean())


def chance(task: OrderTask, items: int = 480) -> tuple[float, float]:
    """Error of guessing, and three standard errors of it over the items."""
    error = 1 - 1 / len(task.orders_Nn)
    return error, 3 * math.sqrt(error * (1 - error) / items)


def scenes(count: int, generator: torch.Generator) -> Tensor:
    """Blurred noise with levels of its own, (B, 3, 1, S, S)."""
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    picture = F.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    return (40 + 170 * picture)[:, :, None]


def repeated_frame(count: int, frames: int, generator: torch.Generator) -> Tensor:
    return scenes(count, generator).expand(-1, -1, frames, -1, -1)


def fresh_noise(count: int, frames: int, generator: torch.Generator) -> Tensor:
    return 255 * torch.rand(count, 3, frames, SIDE, SIDE, generator=generator)


def other_videos(count: int, frames: int, generator: torch.Generator) -> Tensor:
    """Each chunk of a video of its own: between chunks there is nothing in common."""
    chunks = [repeated_frame(count, 1, generator) for _ in range(4)]
    return torch.cat([chunks[min(frame // (frames // 4 + 1), 3)] for frame in range(frames)], dim=2)


def growing(count: int, frames: int, generator: torch.Generator) -> Tensor:
    """Something that does tell the order of time: one side grows brighter."""
    rise = torch.linspace(0, 120, frames)[None, None, :, None, None] * torch.linspace(0, 1, SIDE)
    return 0.5 * scenes(count, generator) + rise


def shaded(count: int, frames: int, generator: torch.Generator) -> Tensor:
    """Static frames under a lens that darkens each quarter of the picture by a share of its own."""
    shade = torch.tensor([[1.0, 0.8], [0.6, 0.4]]).repeat_interleave(SIDE // 2, 0).repeat_interleave(SIDE // 2, 1)
    return repeated_frame(count, frames, generator) * shade


SETTINGS = ShuffleSettings(frames=FRAMES)


@pytest.mark.parametrize("clips", [repeated_frame, fresh_noise, other_videos])
def test_the_order_of_time_is_chance_where_nothing_happens(clips: object) -> None:
    expected, three_errors = chance(TEMPORAL)
    assert abs(error_after_training(TEMPORAL, clips, SETTINGS) - expected) <= three_errors


def test_the_same_network_tells_an_order_that_shows() -> None:
    expected, three_errors = chance(TEMPORAL)
    assert error_after_training(TEMPORAL, growing, SETTINGS) < expected - 3 * three_errors


def test_a_shade_tells_the_place_of_tiles_unless_each_has_the_same_spread() -> None:
    expected, three_errors = chance(SPATIAL)
    off = ShuffleSettings(frames=FRAMES, same_spread=False)
    assert abs(error_after_training(SPATIAL, shaded, SETTINGS) - expected) <= three_errors
    assert error_after_training(SPATIAL, shaded, off) < expected - 3 * three_errors


def test_the_place_of_tiles_is_chance_in_noise() -> None:
    expected, three_errors = chance(SPATIAL)
    assert abs(error_after_training(SPATIAL, fresh_noise, SETTINGS) - expected) <= three_errors
