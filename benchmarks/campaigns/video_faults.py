"""Ways to damage a video file: of its bytes, its boxes, its time stamps, and the streams it holds.

Each takes the bytes (or the path) of a whole file and chance, and returns the damaged bytes and what was done. Those
of bytes may leave a picture that no decoder can tell from a right one; `BYTES` names them.
"""

import random
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from benchmarks.campaigns.coded import picture

Made = tuple[bytes, str]
BOXES_WITH_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex", b"dinf"}
BOXES_OF_TIME = {b"stts", b"ctts", b"elst", b"mdhd", b"mvhd", b"tkhd", b"stss", b"stsz", b"stsc", b"stco", b"tfdt",
                 b"trun", b"sidx", b"mehd", b"trex"}  # fmt: skip
EBML_WITH_ELEMENTS = {0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0x1549A966, 0x1C53BB6B, 0xBB, 0xE0}
EBML_OF_TIME = {0xE7, 0x2AD7B1, 0x23E383, 0x4489, 0x9B, 0xB3, 0xA3}  # of clusters, scale, durations, cues, blocks
TS_PACKET = 188
WORDS = (0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1000, 90000)


def flip(data: bytes, chance: random.Random) -> Made:
    out = bytearray(data)
    end = len(out) if chance.random() < 0.7 else min(len(out), 4096)
    places = [chance.randrange(end) for _ in range(chance.choice((1, 1, 2, 8, 64, 512)))]
    for place in places:
        out[place] ^= 1 << chance.randrange(8)
    return bytes(out), f"{len(places)} bits flipped below byte {end}, the first at {places[0]}"


def overwrite(data: bytes, chance: random.Random) -> Made:
    length = min(len(data) // 2, int(2 ** chance.uniform(0, 16)))
    place = chance.randrange(len(data) - length)
    if chance.random() < 0.3:
        place = min(place, chance.randrange(2048))
    zeros = chance.random() < 0.6
    middle = bytes(length) if zeros else chance.randbytes(length)
    return (
        data[:place] + middle + data[place + length :],
        f"{length} bytes from {place} {'zeroed' if zeros else 'random'}",
    )


def cut(data: bytes, chance: random.Random) -> Made:
    kind = chance.choice(("end", "end", "middle", "middle", "beginning"))
    place = chance.randrange(1, len(data))
    if kind == "end":
        return data[:place], f"cut off at byte {place} of {len(data)}"
    length = min(len(data) - place, int(2 ** chance.uniform(0, 17)))
    if kind == "beginning":
        return data[length:], f"first {length} bytes cut off"
    return data[:place] + data[place + length :], f"{length} bytes from {place} cut out"


def lengthen(data: bytes, chance: random.Random) -> Made:
    length = int(2 ** chance.uniform(0, 16))
    kind = chance.choice(("zeros after", "junk after", "junk before", "itself after", "piece repeated"))
    if kind == "zeros after":
        return data + bytes(length), f"{length} zeros after it"
    if kind == "junk after":
        return data + chance.randbytes(length), f"{length} random bytes after it"
    if kind == "junk before":
        return chance.randbytes(length) + data, f"{length} random bytes before it"
    if kind == "itself after":
        return data + data, "the file twice"
    place = chance.randrange(len(data))
    return data[:place] + data[max(0, place - length) :], f"{length} bytes before {place} repeated"


def swap_boxes(data: bytes, chance: random.Random) -> Made:
    pieces = list(_pieces(data))
    if len(pieces) < 3:
        return cut(data, chance)
    kind = chance.choice(("swapped", "swapped", "doubled", "removed", "named another"))
    begin, end, name, siblings = chance.choice(pieces)
    if kind == "doubled":
        return data[:end] + data[begin:], f"{name} at {begin} doubled"
    if kind == "removed":
        return data[:begin] + data[end:], f"{name} at {begin} removed"
    if kind == "named another":
        at = begin + 4 if name.isalpha() and data[begin + 4 : begin + 8] == name.encode() else begin
        return data[:at] + b"free" + data[at + 4 :], f"{name} at {begin} named free"
    others = [piece for piece in pieces if piece[3] == siblings and piece[0] != begin]
    if not others:
        return data[:begin] + data[end:], f"{name} at {begin} removed"
    other = chance.choice(others)
    (a, b, first), (c, d, second) = sorted(((begin, end, name), other[:3]))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:], f"{first} at {a} and {second} at {c} swapped"


def change_times(data: bytes, chance: random.Random) -> Made:
    spans = list(_times(data))
    if not spans:
        return flip(data, chance)
    out, done = bytearray(data), []
    for begin, end, name in chance.sample(spans, min(len(spans), chance.choice((1, 1, 2, 4)))):
        size = 4 if end - begin >= 4 else end - begin
        place = begin + size * chance.randrange(max(1, (end - begin) // size))
        old = int.from_bytes(out[place : place + size], "big")
        new = chance.choice((old + 1, old - 1, 2 * old, old // 2, chance.getrandbits(8 * size), *WORDS))
        out[place : place + size] = (new % (1 << 8 * size)).to_bytes(size, "big")
        done.append(f"{name} at {place}: {old} to {new % (1 << 8 * size)}")
    return bytes(out), "; ".join(done)


def remux(source: Path, target: Path, chance: random.Random) -> str:
    """Other time stamps: an offset, jitter, a gap, a step back, a beginning at zero in the middle, another order."""
    kind = chance.choice(("offset", "jitter", "gap", "back", "again from zero", "other rate", "lost", "shuffled"))
    amount = chance.randrange(1, 400)
    with av.open(str(source)) as given, av.open(str(target), "w", format=_format(given)) as out:
        stream = given.streams.video[0]
        made = out.add_stream_from_template(stream)
        packets = [packet for packet in given.demux(stream) if packet.size]
        middle = len(packets) // 2
        frame = max(1, round(1 / (stream.average_rate * stream.time_base)))
        if kind == "lost":
            packets = [packet for packet in packets if chance.random() > amount / 4000]
        if kind == "shuffled":
            place = chance.randrange(len(packets) - 1)
            packets[place], packets[place + 1] = packets[place + 1], packets[place]
        for number, packet in enumerate(packets):
            late = number >= middle
            change = {
                "offset": amount * frame, "jitter": chance.randrange(frame), "gap": late * amount * frame,
                "back": -late * min(amount, 40) * frame, "again from zero": -late * (packets[middle].pts or 0),
            }.get(kind, 0)  # fmt: skip
            for key in ("pts", "dts"):
                if (value := getattr(packet, key)) is not None:
                    scaled = round(value * (1 + amount / 1000)) if kind == "other rate" else value
                    setattr(packet, key, scaled + change)
            packet.stream = made
            out.mux(packet)
    return f"time stamps: {kind} {amount}"


def add_streams(source: Path, target: Path, chance: random.Random) -> str:
    """More streams beside the video: a negative preview before or after it, silence that is longer, tags in Latin-1."""
    kind = chance.choice(("preview before", "preview after", "sound", "sound before", "tags", "preview later"))
    with (
        av.open(str(source)) as given,
        av.open(str(target), "w", format=_format(given), metadata_errors="surrogateescape") as out,
    ):
        stream = given.streams.video[0]
        packets = []
        order = ["preview", "video"] if kind in ("preview before", "sound before") else ["video", "preview"]
        for role in order:
            if role == "video":
                made = out.add_stream_from_template(stream)
                for packet in given.demux(stream):
                    if packet.size:
                        packet.stream = made
                        packets.append(packet)
            elif kind.startswith("preview"):
                packets += _preview(out, stream, late=kind == "preview later")
            elif kind.startswith("sound"):
                packets += _sound(out, stream)
        if kind == "tags":
            out.metadata["title"] = b"caf\xe9 \xff".decode("utf-8", "surrogateescape")
        packets.sort(key=lambda packet: float((packet.dts if packet.dts is not None else 0) * packet.time_base))
        for packet in packets:
            out.mux(packet)
    return f"streams: {kind}"


BYTES: dict[str, Callable[[bytes, random.Random], Made]] = {
    "flip": flip, "overwrite": overwrite, "cut": cut, "boxes": swap_boxes,
}  # fmt: skip
WHOLE: dict[str, Callable[[bytes, random.Random], Made]] = {"lengthen": lengthen, "times": change_times}
MUXED: dict[str, Callable[[Path, Path, random.Random], str]] = {"remux": remux, "streams": add_streams}


def _format(container: av.container.InputContainer) -> str:
    """FFmpeg names a reader by all it reads (mov,mp4,...), a writer by one name."""
    names = container.format.name.split(",")
    return "mp4" if "mp4" in names else "webm" if "webm" in names and _is_webm(container) else names[0]


def _is_webm(container: av.container.InputContainer) -> bool:
    return container.streams.video[0].codec_context.name in ("vp8", "vp9", "av1")


def _preview(out: av.container.OutputContainer, stream: av.video.stream.VideoStream, late: bool) -> list[av.Packet]:
    """Small negative pictures, for as long as the video lasts."""
    name = {"vp9": "libvpx", "mpeg4": "mpeg4"}.get(stream.codec_context.name, "libx264")
    made = out.add_stream(name, rate=10)
    made.width, made.height, made.pix_fmt = 96, 64, "yuv420p"
    made.thread_count = 1
    packets = []
    for number in range(20, 60):
        planes = np.full((96, 96), 128, np.uint8)
        planes[:64] = 255 - picture(number, 96, 64)
        frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
        frame.pts, frame.time_base = number + 30 * late, Fraction(1, 10)
        packets += made.encode(frame)
    return packets + made.encode()


def _sound(out: av.container.OutputContainer, stream: av.video.stream.VideoStream) -> list[av.Packet]:
    """Silence of 20 s, longer than any of the videos."""
    name = "libopus" if stream.codec_context.name == "vp9" else "mp3" if out.format.name == "avi" else "aac"
    made = out.add_stream(name, rate=48000)
    packets = []
    size = made.codec_context.frame_size or 960
    for begin in range(0, 20 * 48000, size):
        samples = av.AudioFrame(format=made.format.name, layout=made.layout.name, samples=size)
        for plane in samples.planes:
            plane.update(bytes(plane.buffer_size))
        samples.sample_rate, samples.pts, samples.time_base = 48000, begin, Fraction(1, 48000)
        packets += made.encode(samples)
    return packets + made.encode()


def _pieces(data: bytes) -> Iterator[tuple[int, int, str, int]]:
    """Begin, end, name and number of the parent of each box, element, chunk or packet, as the container has."""
    if data[:4] == b"\x1a\x45\xdf\xa3":
        yield from ((begin, end, f"{name:x}", parent) for begin, end, name, parent, _ in _elements(data, 0, len(data)))
    elif data[:4] == b"RIFF":
        yield from _chunks(data, 12, len(data))
    elif data[:1] == b"\x47":
        yield from ((at, at + TS_PACKET, "packet", 0) for at in range(0, len(data) - TS_PACKET, TS_PACKET))
    else:
        yield from ((begin, end, name.decode("latin-1"), parent) for begin, end, name, parent in _boxes(data))


def _boxes(data: bytes, begin: int = 0, end: int | None = None, parent: int = -1) -> Iterator[tuple]:
    end = len(data) if end is None else end
    while begin + 8 <= end:
        size, name = struct.unpack(">I4s", data[begin : begin + 8])
        if size < 8 or begin + size > end:
            return
        yield begin, begin + size, name, parent
        if name in BOXES_WITH_BOXES:
            yield from _boxes(data, begin + 8, begin + size, begin)
        begin += size


def _elements(data: bytes, begin: int, end: int, parent: int = -1) -> Iterator[tuple[int, int, int, int, int]]:
    while begin < end:
        at = begin
        length = 9 - data[at].bit_length()
        name = int.from_bytes(data[at : at + length], "big")
        at += length
        if at >= end or data[at] == 0:
            return
        length = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
        unknown = size == (1 << 7 * length) - 1
        at += length
        stop = end if unknown else at + size
        if stop > end:
            return
        yield begin, stop, name, parent, at
        if name in EBML_WITH_ELEMENTS:
            yield from _elements(data, at, stop, begin)
        begin = stop


def _chunks(data: bytes, begin: int, end: int, parent: int = -1) -> Iterator[tuple[int, int, str, int]]:
    while begin + 8 <= end:
        name, size = struct.unpack("<4sI", data[begin : begin + 8])
        stop = begin + 8 + size + size % 2
        if stop > end:
            return
        yield begin, stop, name.decode("latin-1"), parent
        if name == b"LIST":
            yield from _chunks(data, begin + 12, stop, begin)
        begin = stop


def _times(data: bytes) -> Iterator[tuple[int, int, str]]:
    """Where a file keeps times and places: begin, end and name."""
    if data[:4] == b"\x1a\x45\xdf\xa3":
        for _, end, name, _, content in _elements(data, 0, len(data)):
            if name in EBML_OF_TIME:
                begin, stop = (content + 1, content + 3) if name == 0xA3 else (content, end)
                yield begin, stop, f"{name:x}"
    elif data[:4] == b"RIFF":
        for begin, end, name, _ in _chunks(data, 12, len(data)):
            if name in ("avih", "strh", "idx1"):
                yield begin + 8, min(end, begin + 72) if name != "idx1" else end, name
    elif data[:1] == b"\x47":
        for at in range(0, len(data) - TS_PACKET, TS_PACKET):
            start = data.find(b"\0\0\1\xe0", at, at + TS_PACKET)
            if start >= 0 and start + 14 < len(data):
                yield start + 9, start + 14, "pts"
    else:
        for begin, end, name, _ in _boxes(data):
            if name in BOXES_OF_TIME:
                yield begin + 12, end, name.decode()
