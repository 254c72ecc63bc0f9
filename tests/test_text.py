"""Numbers in sentences."""

from epicsub.text import counted, sized


def test_counted() -> None:
    assert [counted(number, "video is", "videos are") for number in (0, 1, 2)] == [
        "0 videos are",
        "1 video is",
        "2 videos are",
    ]


def test_sized() -> None:
    assert [sized(size) for size in (0, 1.23e6, 999e6, 1e9, 24.34e9)] == [
        "0.0 MB",
        "1.2 MB",
        "999.0 MB",
        "1.0 GB",
        "24.3 GB",
    ]
