"""What the synthetic kitchens draw: motions, and kitchens apart from each other."""

import numpy as np
import pytest

from epicsub.synth.kitchens import KITCHENS, PLAIN, kitchen_of
from epicsub.synth.motions import MOTIONS


def test_motions_repeat_without_a_jump_in_who_is_drawn() -> None:
    """A motion is periodic, and a window of half a second holds at least one of its cycles."""
    for verb in MOTIONS.values():
        assert verb.frequency >= 2.0
        things = {frozenset(layer.thing for layer in verb.motion(phase, 0.5)) for phase in np.linspace(0, 0.999, 50)}
        assert len(things) == 1


def test_take_and_put_are_each_other_backwards_and_so_are_open_and_close() -> None:
    for forth, back in ((0, 1), (3, 4)):
        for phase in (0.1, 0.35, 0.6, 0.9):
            pairs = zip(MOTIONS[forth].motion(phase, 0.5), MOTIONS[back].motion(1 - phase, 0.5), strict=True)
            for mine, other in pairs:
                assert mine.thing == other.thing
                assert mine[1:] == pytest.approx(other[1:])


def test_shift_moves_target_kitchens_from_the_plain_one_and_leaves_source_kitchens() -> None:
    drawn = KITCHENS["P05"]
    for shift in (0.0, 0.5, 1.0):
        kitchen = kitchen_of("P05", shift)
        assert kitchen.zoom == pytest.approx(PLAIN.zoom + shift * (drawn.zoom - PLAIN.zoom))
        assert kitchen.tint == pytest.approx([p + shift * (d - p) for p, d in zip(PLAIN.tint, drawn.tint, strict=True)])
        assert np.abs(np.subtract(kitchen.worktop, PLAIN.worktop)).max() == pytest.approx(
            shift * np.abs(np.subtract(drawn.worktop, PLAIN.worktop)).max(), abs=1
        )
    assert kitchen_of("P05", 0.0).texture == PLAIN.texture
    assert kitchen_of("P05", 1.0) == drawn
    assert kitchen_of("P01", 0.7) == KITCHENS["P01"]
