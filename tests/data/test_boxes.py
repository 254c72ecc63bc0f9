"""The official boxes: parsing, the restricted unpickler, the store, errata, resuming, raw rows."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from epicsub.data.boxes import convert
from epicsub.data.boxes.convert import ERRATA, Erratum, convert_boxes
from epicsub.data.boxes.detections import FULL, ArraysBuilder, FrameDetections, Hand, Thing
from epicsub.data.boxes.official import Message, parse_message, read_pickle, write_message
from epicsub.data.boxes.store import Note, boxes_path, open_boxes, read_note, write_boxes
from epicsub.data.root import DataRoot
from epicsub.errors import DataError

BOX = (0.125, 0.25, 0.5, 0.75)
HAND = Hand(BOX, 0.75, 3, (0.25, -0.125), 1)
ZEROS = Hand((0.0, 0.25, 0.5, 0.75), 0.5, 0, (0.0, 0.0), 0)
FOUND = FrameDetections([HAND, ZEROS], [Thing((0.5, 0.5, 1.0, 1.0), 0.5), Thing(BOX, 0.015625)])
NOTHING = FrameDetections([], [])


def protobuf() -> type:
    """`Detections` as protobuf itself builds it, with a field that the reader does not know."""
    file = descriptor_pb2.FileDescriptorProto(name="hoa.proto", package="hoa", syntax="proto3")
    kinds = {"float": 2, "int32": 5, "string": 9, "int64": 3, "fixed64": 6}
    messages = {
        "BBox": ["left float", "top float", "right float", "bottom float"],
        "Offset": ["x float", "y float"],
        "Hand": ["bbox BBox", "score float", "state int32", "offset Offset", "side int32", "extra fixed64"],
        "Thing": ["bbox BBox", "score float", "extra string"],
        "Detections": ["video_id string", "frame_number int32", "hands *Hand", "objects *Thing", "extra *int64"],
    }
    for name, rows in messages.items():
        made = file.message_type.add(name=name)
        for number, row in enumerate(rows, start=1):
            field, kind = row.split()
            part = made.field.add(name=field, number=number, label=3 if "*" in kind else 1)
            if (kind := kind.strip("*")) in kinds:
                part.type = kinds[kind]
            else:
                part.type, part.type_name = 11, f".hoa.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("hoa.Detections"))


def test_the_parser_reads_what_protobuf_writes() -> None:
    detections = protobuf()
    random = np.random.default_rng(0)
    for _ in range(200):
        made = detections(video_id="P01_01", frame_number=int(random.integers(0, 70_000)))

        def corners() -> dict[str, float]:
            values = random.integers(0, 5, 4) / 4  # zeros, which proto3 leaves out
            return dict(zip(("left", "top", "right", "bottom"), map(float, values), strict=True))

        for _ in range(random.integers(0, 3)):
            state, side, x = (int(random.integers(0, high)) for high in (5, 2, 3))
            made.hands.add(
                bbox=corners(), score=0.25 * state, state=state, side=side, offset={"x": x / 2, "y": -0.5}, extra=7
            )
        for _ in range(random.integers(0, 4)):
            made.objects.add(bbox=corners(), score=0.5, extra="unknown")
        made.extra.extend([2**62, -5])
        data = made.SerializeToString()
        message = parse_message(data)
        assert (message.video_id, message.number) == (made.video_id, made.frame_number)
        box = ("left", "top", "right", "bottom")
        assert message.found.hands == [
            Hand(tuple(getattr(h.bbox, k) for k in box), h.score, h.state, (h.offset.x, h.offset.y), h.side)
            for h in made.hands
        ]
        assert message.found.objects == [Thing(tuple(getattr(o.bbox, k) for k in box), o.score) for o in made.objects]
        written = detections()
        written.ParseFromString(write_message(message))
        made.ClearField("extra")
        for part in (*made.hands, *made.objects):
            part.ClearField("extra")
        assert parse_message(written.SerializeToString()) == message


def test_the_parser_refuses_every_truncation() -> None:
    data = write_message(Message("P01_01", 300, FOUND))
    whole = parse_message(data)
    assert whole == Message("P01_01", 300, FOUND)
    ends = [0, 8, 11]  # of the fields: a message that ends there is a whole one
    for part in ([HAND], [ZEROS]):
        ends.append(ends[-1] + len(write_message(Message("", 0, FrameDetections(part, [])))))
    ends.append(ends[-1] + len(write_message(Message("", 0, FrameDetections([], FOUND.objects[:1])))))
    for end in sorted(set(range(len(data))) - set(ends)):
        with pytest.raises(DataError, match="breaks off"):
            parse_message(data[:end])
    for end in ends:
        parse_message(data[:end])
    with pytest.raises(DataError, match="no kind that proto3 has"):
        parse_message(b"\x0b")


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps([b"", _Runs()]), "names (posix|nt).mkdir"),
        (pickle.dumps([np.float32(1)]), "names numpy"),
        (pickle.dumps([b"a", "b"]), "no list of bytes"),
        (pickle.dumps([b"abc"] * 9)[:-4], "cut off|damaged"),
        (b"<!doctype html><html>", "web page"),
        (b"", "empty"),
        (b"\x80\x04]r\xff\xff\xff\x7f.", "holds no frame"),  # an index of the memo that would take the memory
    ],
)
def test_a_pickle_that_names_anything_is_refused_before_it_runs(
    content: bytes, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hand-objects" / "P01" / "P01_01.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(DataError, match=says) as refused:
        convert_boxes(DataRoot(tmp_path), workers=1)
    assert str(path) in str(refused.value)
    assert not (tmp_path / "ran").exists()
    assert not boxes_path(tmp_path, "P01_01").exists()


def write_official(path: Path, frames: list[FrameDetections], first: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    messages = [write_message(Message(path.stem, n, found)) for n, found in enumerate(frames, start=first)]
    path.write_bytes(pickle.dumps(messages))


def test_boxes_come_back_within_a_level(tmp_path: Path) -> None:
    random = np.random.default_rng(1)

    def corners() -> tuple[float, ...]:
        x, y = np.sort(random.random((2, 2)), axis=1)
        return tuple(float(np.float32(v)) for v in (x[0], y[0], x[1], y[1]))

    frames = [
        FrameDetections(
            [Hand(corners(), 0.6, int(random.integers(5)), (0.3, -0.7), int(random.integers(2))) for _ in range(h)],
            [Thing(corners(), 0.3) for _ in range(o)],
        )
        for h, o in random.integers(0, 4, (50, 2))
    ]
    write_official(tmp_path / "hand-objects" / "P01" / "P01_01.pkl", frames)
    convert_boxes(DataRoot(tmp_path), workers=1)
    there = open_boxes(boxes_path(tmp_path, "P01_01"))
    assert (there.arrays.frames, there.note.rate, there.note.detector) == (50, 60, "official")
    for number, frame in enumerate(frames):
        hands = there.arrays.hands[slice(*there.arrays.hand_starts[number : number + 2])] / FULL
        objects = there.arrays.objects[slice(*there.arrays.object_starts[number : number + 2])] / FULL
        assert (
            np.abs(hands - np.array([(*h.corners, h.score) for h in frame.hands]).reshape(-1, 5)).max(initial=0)
            < 1 / FULL
        )
        assert (
            np.abs(objects - np.array([(*o.corners, o.score) for o in frame.objects]).reshape(-1, 5)).max(initial=0)
            < 1 / FULL
        )
    states = [h.state for frame in frames for h in frame.hands]
    sides = [h.side for frame in frames for h in frame.hands]
    assert (there.arrays.states.tolist(), there.arrays.sides.tolist()) == (states, sides)
    assert np.allclose(there.arrays.offsets / 32767, (0.3, -0.7), atol=1 / 32767)


@pytest.mark.parametrize(
    ("rate", "seconds", "frame"),
    [
        (60, 0.0, 0), (60, 1 / 59.94, 1), (60, 100 / 59.94, 100), (60, 1000 / 59.94, 1001), (60, 0.0167, 1),
        (50, 0.02, 1), (50, 99 * 0.02, 99), (60, 1 / 29.97, 2), (60, 30 / 29.97, 60), (60, -1.0, 0), (60, 1e9, 1199),
    ],
)  # fmt: skip
def test_the_frame_of_a_time(rate: int, seconds: float, frame: int, tmp_path: Path) -> None:
    builder = ArraysBuilder()
    for _ in range(1200):
        builder.add(NOTHING)
    note = Note(detector="official", source={}, rate=rate, width=456, height=256)
    write_boxes(tmp_path / "b.safetensors", builder.finish(), note)
    assert open_boxes(tmp_path / "b.safetensors").frames_at(np.array([seconds])).tolist() == [frame]


def test_a_killed_conversion_goes_on_and_other_files_are_not_replaced_unasked(tmp_path: Path) -> None:
    source = tmp_path / "hand-objects" / "P01"
    for number in range(1, 5):
        write_official(source / f"P01_{number:02d}.pkl", [FOUND] * 40)
    kill = (
        "import os; from epicsub.data.boxes import convert; from epicsub.data.root import DataRoot\n"
        "write = convert.write_boxes\n"
        "def die(path, *rest):\n"
        "    if path.stem == 'P01_03':\n"
        "        (path.parent / '.P01_03.abcd1234.safetensors').write_bytes(b'half'); os._exit(9)\n"
        "    write(path, *rest)\n"
        "convert.write_boxes = die\n"
        f"convert.convert_boxes(DataRoot({str(tmp_path)!r}), workers=1)\n"
    )
    assert subprocess.run([sys.executable, "-c", kill], check=False, capture_output=True).returncode == 9
    assert sorted(path.stem for path in (tmp_path / "boxes" / "P01").glob("P*")) == ["P01_01", "P01_02"]
    summary = convert_boxes(DataRoot(tmp_path), workers=1)
    assert (summary.converted, summary.kept) == (2, 2)
    assert not list((tmp_path / "boxes" / "P01").glob(".*"))
    write_official(source / "P01_02.pkl", [FOUND] * 41)
    with pytest.raises(DataError, match=r"ask for --overwrite:\n.*P01_02"):
        convert_boxes(DataRoot(tmp_path), workers=1)
    assert convert_boxes(DataRoot(tmp_path), workers=1, overwrite=True).converted == 1
    whole = boxes_path(tmp_path, "P01_02").read_bytes()
    boxes_path(tmp_path, "P01_02").write_bytes(whole[:-5])
    assert read_note(boxes_path(tmp_path, "P01_02")) is None
    assert convert_boxes(DataRoot(tmp_path), workers=1).converted == 1
    assert boxes_path(tmp_path, "P01_02").read_bytes() == whole


def video_info(root: Path, rows: dict[str, tuple[float, float]]) -> None:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    lines = [f"{name},{duration},{fps},1920x1080\n" for name, (duration, fps) in rows.items()]
    (root / "annotations" / "EPIC_100_video_info.csv").write_text("video_id,duration,fps,resolution\n" + "".join(lines))


def test_the_two_wrong_videos_are_found_by_count_and_md5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    assert {name: row.wrong_frames for name, row in ERRATA.items()} == {"P01_109": 222_487, "P27_103": 146_918}
    paths = {name: tmp_path / "hand-objects" / name[:3] / f"{name}.pkl" for name in ("P01_109", "P27_103", "P01_108")}
    write_official(paths["P01_109"], [NOTHING] * 500)  # the wrong count, as the list says it
    write_official(paths["P27_103"], [NOTHING] * 604)  # 10 s at 60 a second
    write_official(paths["P01_108"], [NOTHING] * 600)  # no erratum, but no count that fits
    video_info(tmp_path, {"P27_103": (10.0, 50), "P01_108": (10.0, 50)})
    right = hashlib.md5(b"other").hexdigest()
    monkeypatch.setitem(convert.ERRATA, "P01_109", Erratum(500, right))
    with pytest.raises(DataError) as refused:
        convert_boxes(DataRoot(tmp_path), workers=1)
    for name in ("P01_109", "P27_103"):
        assert f"{paths[name]}: is the wrong file of the first release" in str(refused.value)
    assert right in str(refused.value)
    assert boxes_path(tmp_path, "P01_108").exists()  # the others are done
    # the same count with the md5 of the corrected file, and a plausible count with any md5
    monkeypatch.setitem(convert.ERRATA, "P01_109", Erratum(500, hashlib.md5(paths["P01_109"].read_bytes()).hexdigest()))
    write_official(paths["P27_103"], [NOTHING] * 504)
    summary = convert_boxes(DataRoot(tmp_path), workers=1)
    assert (summary.converted, summary.notes) == (2, [])
    paths["P01_108"].write_bytes(paths["P01_108"].read_bytes() + b" ")
    assert (
        "P01_108.pkl: holds 600 frames, 10.00 s"
        in convert_boxes(DataRoot(tmp_path), workers=1, overwrite=True).notes[0]
    )


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([(1, "P01_01"), (1, "P01_01")], "frame number 1 follows 1"),
        ([(0, "P01_01")], "frame number 0 follows 0"),
        ([(1, "P01_01"), (999_999_999, "P01_01")], "frame number 999999999 follows 1"),
        ([(1, "P02_01")], "holds boxes of P02_01, not of P01_01"),
    ],
)
def test_frames_that_do_not_count_from_one_are_refused(
    messages: list[tuple[int, str]], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "P01" / "P01_01.pkl"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps([write_message(Message(name, number, FOUND)) for number, name in messages]))
    with pytest.raises(DataError, match=says):
        convert_boxes(DataRoot(tmp_path), workers=1)


def test_numbers_that_are_none_are_refused_and_gaps_are_told(tmp_path: Path) -> None:
    path = tmp_path / "P01" / "P01_01.pkl"
    write_official(path, [FOUND, FrameDetections([HAND._replace(corners=(0.1, float("nan"), 0.2, 0.3))], [])])
    with pytest.raises(DataError, match="frame 2: a box of no finite numbers"):
        convert_boxes(DataRoot(tmp_path), workers=1)
    path.write_bytes(pickle.dumps([write_message(Message("P01_01", number, FOUND)) for number in (1, 2, 5)]))
    assert "lacks 2 frames" in convert_boxes(DataRoot(tmp_path), workers=1).notes[0]
    there = open_boxes(boxes_path(tmp_path, "P01_01"))
    assert (there.note.absent, there.arrays.hand_starts.tolist()) == (2, [0, 2, 4, 4, 4, 6])


def test_raw_rows_of_the_detector_give_the_same_boxes(tmp_path: Path) -> None:
    write_official(tmp_path / "a" / "P01" / "P01_01.pkl", [NOTHING, FrameDetections([HAND], [Thing(BOX, 0.5)])])
    pixels = np.array([456, 256, 456, 256])
    shift = np.array(HAND.offset) * (456, 256)
    size = float(np.hypot(*shift))
    hand = [2, *(np.array(BOX) * pixels), 0.75, 3, size / 10_000, *(shift / size), 1]
    thing = [2, *(np.array(BOX) * pixels), 0.5, 9, 9, 9, 9, 9]
    (tmp_path / "b" / "P01").mkdir(parents=True)
    rows = {
        "hands": np.array([hand]),
        "objects": np.array([thing]),
        "size": np.array([456, 256]),
        "frames": np.array(2),
    }
    np.savez(tmp_path / "b" / "P01" / "P01_01.npz", **rows)
    for name in "ab":
        convert_boxes(DataRoot(tmp_path / f"root_{name}"), tmp_path / name, workers=1)
    one, other = (open_boxes(boxes_path(tmp_path / f"root_{name}", "P01_01")).arrays for name in "ab")
    for name in ("hands", "states", "sides", "objects", "hand_starts", "object_starts"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.abs(one.offsets.astype(int) - other.offsets).max() <= 1
    np.savez(tmp_path / "b" / "P01" / "P01_01.npz", **{**rows, "hands": np.array([hand[:10]])})
    with pytest.raises(DataError, match=r"hands is float64 \(1, 10\); expected"):
        convert_boxes(DataRoot(tmp_path / "root_b"), tmp_path / "b", workers=1, overwrite=True)
    np.savez(tmp_path / "b" / "P01" / "P01_01.npz", hands=rows["hands"])
    with pytest.raises(DataError, match="lacks objects, size, frames"):
        convert_boxes(DataRoot(tmp_path / "root_b"), tmp_path / "b", workers=1, overwrite=True)


def test_read_pickle_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.pkl: cannot be read: No such file"):
        read_pickle(tmp_path / "gone.pkl")
