"""Videos made on the fly, in which every frame says its own number."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

RATES = {
    "59.94": Fraction(60000, 1001),
    "50": Fraction(50),
    "47.95": Fraction(48000, 1001),
    "29.97": Fraction(30000, 1001),
    "90": Fraction(90),
}
BITS, BLOCK = 10, 8  # a frame's number: ten blocks of 8x8 pixels, black or white, in the first row


def numbered_frame(number: int, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: `number` in binary at the top, a shade that grows with it below."""
    image = np.full((height, width, 3), 40 + number % 160, np.uint8)
    for bit in range(BITS):
        image[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (number >> bit & 1)
    return image


def number_of(image: np.ndarray) -> int:
    """The number in an image (H, W, 3) or (H, W), whatever the compression did to it."""
    gray = np.asarray(image, np.float64).reshape(*image.shape[:2], -1).mean(-1)
    centres = [gray[2 : BLOCK - 2, bit * BLOCK + 2 : (bit + 1) * BLOCK - 2].mean() for bit in range(BITS)]
    return sum((centre > 127) << bit for bit, centre in enumerate(centres))


def write_video(
    path: Path,
    count: int,
    rate: Fraction = RATES["59.94"],
    size: tuple[int, int] = (100, 80),
    gop: int = 24,
    b_frames: int = 2,
    first: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """An H.264 file of `count` numbered frames; `first` frames of silence come before the first one's timestamp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.options = {"crf": "18", "preset": "veryfast", "bf": str(b_frames), "threads": "1"}
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), format="rgb24")
            frame.pts, frame.time_base = number + first, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def rates() -> dict[str, Fraction]:
    """The frame rates of EPIC_100_video_info.csv, exactly."""
    return RATES


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    return write_video


@pytest.fixture(scope="session")
def read_number() -> Callable[[np.ndarray], int]:
    return number_of


CSV_HEAD = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame"
)
LABEL_HEAD = ",narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"


def write_list(path: Path, rows: list[tuple[str, str, float, float]], labels: bool) -> Path:
    """A list in the organisers' columns from (narration id, video id, start, stop) rows; classes count up by row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [CSV_HEAD + (LABEL_HEAD if labels else "")]
    for number, (identity, video, start, stop) in enumerate(rows):
        times = [f"00:{int(t // 60):02d}:{t % 60:05.2f}" for t in (start, stop)]
        line = f"{identity},{video[:3]},{video},,{times[0]},{times[1]},{int(start * 60)},{int(stop * 60)}"
        if labels:
            line += f",take plate,take,{number % 97},plate,{number % 300},\"['plate', 'cup']\",\"[2, 10]\""
        lines.append(line)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def make_list() -> Callable[..., Path]:
    return write_list
