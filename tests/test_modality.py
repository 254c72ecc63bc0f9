"""The modality table is whole, and no other file of the package spells a modality's name."""

import ast
from pathlib import Path
from typing import get_args

from epicsub.modality import MODALITIES, ModalityName, VideoModality

PACKAGE = Path(__file__).parent.parent / "epicsub"
EXEMPT = {
    "modality.py",
    "models/table.py",  # each published file of weights names the modality it is for
    "cli/main.py",  # the command `data flow`
    "cli/demo.py",  # runs that command
    "data/boxes/rows.py",  # hands and objects of a detector, in its words
    "data/boxes/store.py",
    "data/check/boxes.py",
    "recipe/data.py",  # `data.crop: hands`
}


def test_names_are_those_of_the_rows() -> None:
    assert get_args(ModalityName) == tuple(MODALITIES)
    with_pixels = tuple(name for name, row in MODALITIES.items() if row.from_video and not row.cut_from)
    assert get_args(VideoModality) == with_pixels
    assert all(name == row.name for name, row in MODALITIES.items())


def test_rows_have_a_value_per_channel() -> None:
    for row in MODALITIES.values():
        assert {len(row.fill), len(row.mean), len(row.std)} == {row.channels}
        assert len(row.gray_channels) in (0, row.channels)
        assert all(channel < row.channels for channel in row.mirror_negates)
        assert (row.from_video and not row.cut_from) == bool(row.video_folder) == bool(row.frame_folder)


def test_no_other_file_spells_a_name() -> None:
    spelt = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value!r}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).as_posix() not in EXEMPT and path.relative_to(PACKAGE).parts[0] != "synth"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in MODALITIES
    ]
    assert not spelt, "read it from epicsub.modality: " + ", ".join(spelt)
