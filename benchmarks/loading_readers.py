"""Ways to turn times into a clip, each as its users have it: epicsub, its peers, and the limit that decoding sets.

Each is a function of a path that gives a function of a start second; that gives a normalised clip (3, 16, 224, 224),
or, for the limits, the number of pictures decoded. All files stay open, which spares decord and torchcodec the opening
that they pay in their own users' code. All decode in one thread.
"""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from epicsub.data.annotations import Segment
from epicsub.data.clips import ViewClips
from epicsub.data.decode.pyav import PyavReader
from epicsub.data.prepared import read_index
from epicsub.data.prepared.video import PreparedVideo, decoder, needed_places
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.data.sources import ClipSource
from epicsub.data.transforms import _resize_short_side, _three_crops

FRAMES, SECONDS, SHORT_SIDE, SIZE = 16, 2.0, 256, 224
# A row of pixels at a time, because three numbers at a time is five times as slow
MEAN = torch.tensor([123.675, 116.28, 103.53]).repeat(SIZE)
SCALE = 1 / torch.tensor([58.395, 57.12, 57.375]).repeat(SIZE)
Clip = Callable[[float], object]
VIDEO = "P01_01"


def times_from(start: float) -> np.ndarray:
    """Sixteen times over two seconds."""
    return start + (np.arange(FRAMES) + 0.5) * (SECONDS / FRAMES)


def normalised(clip_TSSC: torch.Tensor) -> torch.Tensor:
    """uint8 to what a network takes, (3, T, S, S)."""
    rows_TSR = clip_TSSC.float().flatten(2)
    return rows_TSR.sub_(MEAN).mul_(SCALE).unflatten(2, (SIZE, 3)).permute(3, 0, 1, 2)


def finished(clip_THWC: torch.Tensor) -> torch.Tensor:
    """Decoded frames to a clip; the fastest resizing that we know of, for those that bring none."""
    return normalised(_three_crops(_resize_short_side(clip_THWC, SHORT_SIDE), SIZE)[1])


def opencv_seek(root: Path) -> Clip:
    """A seek for every frame by number, as the brief's code does."""
    capture = cv2.VideoCapture(str(video(root)))
    fps = capture.get(cv2.CAP_PROP_FPS)

    def read(start: float) -> torch.Tensor:
        frames = []
        for time in times_from(start):
            capture.set(cv2.CAP_PROP_POS_FRAMES, int(time * fps))
            _, frame = capture.read()
            frame = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), (455, SHORT_SIDE))
            frames.append(frame[16 : 16 + SIZE, 115 : 115 + SIZE])
        return normalised(torch.from_numpy(np.stack(frames)))

    return read


def decord_batch(root: Path) -> Clip:
    """decord's get_batch of frame numbers, one thread, as AVION reads."""
    import decord

    reader = decord.VideoReader(str(video(root)), num_threads=1)
    fps = reader.get_avg_fps()
    return lambda start: finished(
        torch.from_numpy(reader.get_batch((times_from(start) * fps).astype(int).tolist()).asnumpy())
    )


def pytorchvideo_clip(root: Path) -> Clip:
    """PyTorchVideo's EncodedVideo.get_clip: every frame of the two seconds, then sixteen of them."""
    from pytorchvideo.data.encoded_video import EncodedVideo

    encoded = EncodedVideo.from_path(str(video(root)), decode_audio=False)

    def read(start: float) -> torch.Tensor:
        frames_CTHW = encoded.get_clip(start, start + SECONDS)["video"]
        chosen = torch.linspace(0, frames_CTHW.shape[1] - 1, FRAMES).long()
        return finished(frames_CTHW[:, chosen].to(torch.uint8).permute(1, 2, 3, 0))

    return read


def torchcodec_played(root: Path) -> Clip:
    """torchcodec alone: approximate seeks, one FFmpeg thread, frames by time."""
    from torchcodec.decoders import VideoDecoder

    reader = VideoDecoder(str(video(root)), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="approximate")
    return lambda start: finished(reader.get_frames_played_at(times_from(start).tolist()).data)


def epicsub_original(root: Path) -> Clip:
    """epicsub from the original file: the code that evaluation runs."""
    return epicsub_clips(root, ())


def epicsub_prepared(root: Path) -> Clip:
    """epicsub from the prepared store: the code that evaluation runs."""
    return epicsub_clips(root, ("rgb",))


def epicsub_clips(root: Path, prepared: tuple[str, ...]) -> Clip:
    source = ClipSource(DataRoot(root), ("rgb",), prepared=prepared)

    def read(start: float) -> torch.Tensor:
        segment = Segment("P01_01_0", "P01", VIDEO, start, start + SECONDS, 0, 0, None, None)
        clips = ViewClips(
            [segment], source, frames=FRAMES, sampling="dense", stride=SECONDS / FRAMES, short_side=SHORT_SIDE,
            size=SIZE, views=Views(),
        )  # fmt: skip
        return normalised(clips[0][1]["rgb"][0].permute(1, 2, 3, 0))

    return read


def limit_original(root: Path) -> Clip:
    """libavcodec alone, no picture converted: from the keyframe before the first frame to the last frame."""
    container = av.open(str(video(root)))
    stream = container.streams.video[0]
    stream.codec_context.thread_count, stream.codec_context.thread_type = 1, "NONE"

    def decode(start: float) -> int:
        first, last = times_from(start)[[0, -1]]
        container.seek(int(first / stream.time_base), stream=stream)
        for count, frame in enumerate(container.decode(stream)):
            if frame.time >= last:
                return count
        return 0

    return decode


def needed_original(root: Path) -> Clip:
    """The same without pictures that nobody needs, which is what epicsub decodes."""
    reader = PyavReader(video(root))

    def decode(start: float) -> int:
        reader._limits = [reader._limit(time) for time in times_from(start)]
        for time in times_from(start):
            reader._frame_at(time)
        return 0

    return decode


def limit_prepared(root: Path) -> Clip:
    """libavcodec alone on the store: every picture from the keyframe before the first frame to the last frame."""
    return prepared_pictures(root, lambda packets, shown, keys: np.arange(keys[0], shown.max() + 1))


def needed_prepared(root: Path) -> Clip:
    """The same on those pictures alone that the frames are made of, which is what epicsub decodes."""
    return prepared_pictures(root, lambda packets, shown, keys: needed_places(packets, shown))


def prepared_pictures(root: Path, choose: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Clip:
    """Decode the chosen places of each stretch's table that a clip touches."""
    index = read_index(DataRoot(root).prepared(VIDEO, "rgb"))
    assert index is not None
    packets = [index.packets(stretch) for stretch in index.stretches]
    tables = [(rows, np.argsort(rows["pts"]), np.flatnonzero(rows["flags"] & 1)) for rows in packets]
    reader, context = PreparedVideo(index.path), decoder()

    def decode(start: float) -> int:
        limits = np.array([index.ticks_at(time) for time in times_from(start)])
        numbers = np.searchsorted(index.firsts, limits, side="right") - 1
        count = 0
        for number in np.unique(numbers):
            rows, order, keys = tables[number]
            shown = order[np.searchsorted(rows["pts"][order], limits[numbers == number], side="right") - 1]
            begin = keys[np.searchsorted(rows["pts"][keys], rows["pts"][shown.min()], side="right") - 1 :]
            places = choose(rows, shown, begin)
            for data in reader._read(rows, places):
                context.decode(av.Packet(data))
            context.decode(None)
            context.flush_buffers()
            count += len(places)
        assert count >= len(limits)
        return count

    return decode


def video(root: Path) -> Path:
    """The original."""
    found = DataRoot(root).video(VIDEO)
    assert found is not None
    return found


READERS = {
    "opencv_seek": opencv_seek, "decord": decord_batch, "pytorchvideo": pytorchvideo_clip,
    "torchcodec": torchcodec_played, "epicsub_original": epicsub_original, "epicsub_prepared": epicsub_prepared,
    "limit_original": limit_original, "needed_original": needed_original, "limit_prepared": limit_prepared,
    "needed_prepared": needed_prepared,
}  # fmt: skip
PEERS = ("decord", "pytorchvideo", "torchcodec")
