"""The modality table is whole."""

from typing import get_args

from epicsub.modality import MODALITIES, ModalityName, VideoModality


def test_names_are_those_of_the_rows() -> None:
    assert get_args(ModalityName) == tuple(MODALITIES)
    assert get_args(VideoModality) == tuple(name for name, row in MODALITIES.items() if row.from_video)
    assert all(name == row.name for name, row in MODALITIES.items())


def test_rows_have_a_value_per_channel() -> None:
    for row in MODALITIES.values():
        assert {len(row.fill), len(row.mean), len(row.std)} == {row.channels}
        assert len(row.gray_channels) in (0, row.channels)
        assert all(channel < row.channels for channel in row.mirror_negates)
        assert row.from_video == bool(row.video_folder) == bool(row.frame_folder)
