"""Reading a video through decord. It reads the whole file on opening to learn every timestamp."""

from pathlib import Path

import numpy as np
import torch

from epicsub.data.decode.base import HALF_MILLISECOND, VideoFile, first_line
from epicsub.data.decode.pyav import PyavReader
from epicsub.data.loader import keep_memory


class DecordReader(VideoFile):
    """One open video file; see `FrameReader`."""

    def __init__(self, path: Path) -> None:
        """Open a video file; arguments and errors as of `PyavReader`."""
        import decord  # an optional library

        # decord holds some 17 MB a file; kept in the heap, they break it up (measured: 400 MB more after 4,000 clips)
        keep_memory(128 << 10, 128 << 10)
        PyavReader(path).frames_at(np.zeros(1))  # decord follows a rotation flag without saying so; PyAV refuses it
        self.path = path
        self._failures = (decord.DECORDError, RuntimeError)
        try:
            self._reader = decord.VideoReader(str(path), num_threads=1)
            spans = np.asarray(self._reader.get_frame_timestamp(range(len(self._reader))), dtype=np.float64)
            self.height, self.width = (int(side) for side in self._reader[0].shape[:2])
        except self._failures as error:
            raise self._not_opened(first_line(error)) from None
        self.fps = float(self._reader.get_avg_fps())
        self._shown = spans[:, 0] - spans[0, 0]  # float32 inside decord: half a millisecond holds up to 2 hours
        self.duration = float(spans[-1, 1] - spans[0, 0])

    def frames_at(self, times: np.ndarray) -> torch.Tensor:
        """Frames on show at `times`; see `FrameReader.frames_at`.

        Args:
            times: (T,) seconds, in any order.

        Returns:
            (T, H, W, C) uint8, C = 3.
        """
        times = np.asarray(times, dtype=np.float64)
        last = self._shown[-1]
        late = times[times + HALF_MILLISECOND >= last + 2 / self.fps]
        if len(late):
            raise self._ends_before(late.max(), last)
        indices = np.searchsorted(self._shown, times + HALF_MILLISECOND, side="right") - 1
        try:
            return torch.from_numpy(self._reader.get_batch(indices.tolist()).asnumpy())
        except self._failures as error:
            raise self._not_decoded(first_line(error)) from None

    def close(self) -> None:
        """Close the file."""
        del self._reader
