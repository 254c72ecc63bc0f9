"""The live path gives what prediction gives; the server keeps its bounds and its secrets."""

import http.client
import json
import os
import signal
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep

import cv2
import numpy as np
import pytest
import torch
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from epicsub.api.predict import load_model
from epicsub.data.flow.compute import compute_flow
from epicsub.errors import LiveError
from epicsub.live.classify import LiveModel
from epicsub.live.guard import is_loopback
from epicsub.live.window import Window, decode_jpeg
from tests.cli.live_pieces import live_clip, separating, serving, two_segments, video_of

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all


@pytest.fixture(scope="module")
def checkpoint(run: Path, kitchens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return separating(run, kitchens, tmp_path_factory.mktemp("live") / "two.pth")


@pytest.fixture(scope="module")
def model(checkpoint: Path, kitchens: Path) -> LiveModel:
    return LiveModel("two", load_model(checkpoint, data=kitchens, device="cpu"))


@pytest.fixture
def page(model, kitchens):
    with serving(model, kitchens, most_bytes=5_000_000) as (address, live):
        yield address, live


def ask(address: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_live_and_prediction_give_the_same_logits(kitchens, run, tmp_path, monkeypatch) -> None:
    """Of RGB and of flow made on the fly; the stored flow is without loss here, for the live one knows no codec."""
    monkeypatch.setattr("epicsub.data.flow.CRF", 0)
    segment = two_segments(kitchens)[0]
    video = video_of(kitchens, segment)
    compute_flow(video, tmp_path / "flow.mp4", segment.video_id)
    model = load_model(run, data=kitchens, device="cpu")
    expected = model.predict_clip(video, segment.start, segment.stop, flow=tmp_path / "flow.mp4", tta="1x1")
    live = model(live_clip(model, video, segment.start, segment.stop))
    logprobs = torch.log_softmax(live.verb_logits_BV.detach(), -1)[0].numpy()
    np.testing.assert_allclose(logprobs, expected.verb_logprobs, atol=1e-4)
    logprobs = torch.log_softmax(live.noun_logits_BN.detach(), -1)[0].numpy()
    np.testing.assert_allclose(logprobs, expected.noun_logprobs, atol=1e-4)


def test_lines_for_a_video_without_a_browser(command, checkpoint, kitchens) -> None:
    segment = two_segments(kitchens)[0]
    done = command("live", checkpoint, "--video", video_of(kitchens, segment), "--headless", "--data", kitchens)
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    times = [line["time"] for line in lines]
    assert len(lines) > 3
    assert all(0.9 < later - time < 1.2 for time, later in pairwise(times))
    best = lines[0]["runs"]["two"]
    assert [len(best[kind]) for kind in ("verbs", "nouns", "actions")] == [5, 5, 5]
    assert best["actions"][0]["p"] == pytest.approx(best["verbs"][0]["p"] * best["nouns"][0]["p"], abs=1e-3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--headless",), "--headless prints what a --video or a --camera shows"),
        (("--video", "a.mp4", "--camera", "0"), "name one of them"),
        (("--video", "absent.mp4", "--headless"), "absent.mp4: cannot be read"),
        (("--camera", "63", "--headless"), "camera 63: there is none"),
        (("--host", "no.such.address.invalid"), "cannot listen there"),
    ],
)
def test_what_cannot_be_shown_is_refused(command, checkpoint, words, says) -> None:
    done = command("live", checkpoint, *words)
    assert done.status == 2
    assert says in done.err


def test_a_gap_or_a_size_that_changes(model) -> None:
    """A camera that was away begins anew, and clips are of one size."""
    window = Window(model.cut.seconds)
    picture = cv2.imencode(".jpg", np.zeros((72, 96, 3), np.uint8))[1].tobytes()
    for row in range(60):
        window.add(row / 30, lambda: decode_jpeg(picture))
    assert window.end(model.cut) == pytest.approx(58 / 30)  # the last has no flow yet
    window.add(10.0, lambda: decode_jpeg(picture))
    assert window.end(model.cut) is None
    with pytest.raises(LiveError, match="no picture of a camera"):
        decode_jpeg(b"GIF89a")


def test_a_camera_is_answered_and_bad_pictures_are_said(page, model) -> None:
    address, live = page
    picture = cv2.imencode(".jpg", np.full((72, 96, 3), 90, np.uint8))[1].tobytes()
    with connect(f"ws://{address}/api/camera") as one, connect(f"ws://{address}/api/camera") as other:
        for socket in (one, other):
            assert len(json.loads(socket.recv(timeout=20))["page"]) == 32
            for row in range(60):
                socket.send(struct.pack("<d", row / 30) + picture)
        answers = [json.loads(socket.recv(timeout=60)) for socket in (one, other)]
        assert {answer["run"] for answer in answers} == {"two"}
        assert len(live.pages) == 2
        one.send(struct.pack("<d", 3.0) + b"x" * 3_000_000)
        other.send(struct.pack("<d", 20.0) + b"no picture")
        for row in range(60):
            other.send(struct.pack("<d", 20.1 + row / 30) + b"no picture")
        found = ""
        while "picture" not in found:
            found = json.loads(one.recv(timeout=60)).get("problem", "")
        found = ""
        while "no picture of a camera" not in found:
            found = json.loads(other.recv(timeout=60)).get("problem", "")
    assert ask(address, "GET", "/api/about")[0] == 200


def upload(address: str, page: str, content: bytes, **headers: str) -> tuple[int, dict]:
    status, body = ask(address, "PUT", f"/api/upload?page={page}", content, **headers)
    return status, json.loads(body)


def test_uploads_are_bounded_private_and_removed(page, kitchens) -> None:
    address, live = page
    with connect(f"ws://{address}/api/camera") as socket:
        name = json.loads(socket.recv(timeout=20))["page"]
        video = video_of(kitchens, two_segments(kitchens)[0]).read_bytes()
        status, answer = upload(address, name, video)
        assert status == 200
        kept = list(live.uploads.folder.iterdir())
        assert [path.read_bytes() for path in kept] == [video]
        assert live.uploads.folder.stat().st_mode & 0o077 == 0
        began, found = monotonic(), {}
        while not (found.get("result") or found.get("problem")) and monotonic() - began < 120:
            found = json.loads(ask(address, "GET", f"/api/job/{answer['job']}")[1])
            sleep(0.2)
        segments = found["result"]["runs"]["two"]
        assert segments[0]["start"] == 0
        assert segments[-1]["stop"] == pytest.approx(found["result"]["stop"], abs=0.001)  # rounded
        status, part = ask(address, "GET", f"/api/video/{answer['job']}", Range="bytes=4-7")
        assert (status, part) == (206, video[4:8])
        for content, says in (
            (b"#EXTM3U\nfile:///etc/passwd\n", "no video that is taken here"),
            (b"ffconcat version 1.0\nfile /etc/passwd\n", "no video that is taken here"),
            (b"\x80\x04\x95pickle", "no video that is taken here"),
            (b"", "empty"),
        ):
            status, refused = upload(address, name, content)
            assert (status, says in refused["problem"]) == (422, True), refused
        status, refused = upload(address, name, b"\0\0\0\x18ftyp" + b"x" * 5_000_001)
        assert (status, "over 0.0 GB" in refused["problem"]) == (413, True)
        status, broken = upload(address, name, b"\0\0\0\x18ftypisom" + b"x" * 1000)
        began, found = monotonic(), {}
        while not found.get("problem") and monotonic() - began < 60:
            found = json.loads(ask(address, "GET", f"/api/job/{broken['job']}")[1])
            sleep(0.1)
        assert "cannot be opened as a video" in found["problem"]
        assert str(live.uploads.folder) not in found["problem"]
    began = monotonic()
    while list(live.uploads.folder.iterdir()) and monotonic() - began < 20:
        sleep(0.1)
    assert list(live.uploads.folder.iterdir()) == []  # with the page
    assert upload(address, "0" * 32, video)[0] == 422


@pytest.mark.parametrize(
    "path",
    ["/page/../server.py", "/page/%2e%2e/server.py", "/page//etc/passwd", "/api/video/..%2f..%2fetc%2fpasswd",
     "/api/video/%2fetc%2fpasswd", "/api/job/../../x"],
)  # fmt: skip
def test_paths_cannot_leave_the_page(page, path: str) -> None:
    assert ask(page[0], "GET", path)[0] == 404


@pytest.mark.parametrize("identity", ["../../etc/passwd", "P99_99_9", "", "/etc/passwd"])
def test_only_narrations_of_the_lists_are_opened(page, identity: str) -> None:
    assert ask(page[0], "POST", f"/api/narration?id={identity}")[0] == 404


def test_other_sites_and_other_names_are_not_answered(page) -> None:
    address, _ = page
    assert ask(address, "GET", "/", Host="kitchen.example:80")[0] == 403
    assert ask(address, "GET", "/api/about", Origin="http://evil.example")[0] == 403
    with pytest.raises(InvalidStatus), connect(f"ws://{address}/api/camera", origin="http://evil.example"):
        pass


def test_a_token_is_asked_for_where_others_reach_the_page(model, kitchens) -> None:
    with serving(model, kitchens, token="s3cret") as (address, _):
        assert ask(address, "GET", "/api/about")[0] == 401
        assert ask(address, "GET", "/page/live.js")[0] == 401
        assert ask(address, "GET", "/?token=wrong")[0] == 401
        assert ask(address, "GET", "/?token=s3cret")[0] == 303
        assert ask(address, "GET", "/api/about", Cookie="epicsub_token=s3cret", Host="kitchen.example")[0] == 200
        with pytest.raises((InvalidStatus, ConnectionClosed)), connect(f"ws://{address}/api/camera") as socket:
            socket.recv(timeout=10)


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.1.4", False),
        ("a.b", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def test_the_command_serves_until_it_is_interrupted(checkpoint, kitchens, repository, work) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "TMPDIR": str(work)}
    words = [sys.executable, "-m", "epicsub", "live", str(checkpoint), "--port", "0", "--data", str(kitchens)]
    with subprocess.Popen(words, cwd=work, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "http://" in line)
            status, body = ask(line.split("http://")[1].split("/")[0], "GET", "/")
            assert status == 200
            assert b"epicsub live" in body
            process.send_signal(signal.SIGINT)
            assert process.wait(60) in (0, 130)
        finally:
            process.kill()
    assert list(work.glob("epicsub-live-*")) == []
