"""A server that says nothing, one that is not there, and one that cuts a download short."""

import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from epicsub.io.network import download, why_unreachable
from epicsub.models.weights import _weight_folders, find_weights


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


class Cut(BaseHTTPRequestHandler):
    """Answers 404 to HEAD, and half of a file to GET."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"x" * 50)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def cutting() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cut)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("EPICSUB_WEIGHTS", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


def test_weights_that_no_network_brings_are_refused_within_ten_seconds(silent, nowhere, monkeypatch) -> None:
    """Two names, as the two streams of a recipe have, on a hub that never answers; huggingface_hub alone takes 20 s."""
    monkeypatch.setenv("HF_ENDPOINT", silent)
    monkeypatch.setenv("EPICSUB_HUB", "our-group/i3d")
    began = time.monotonic()
    for name in ("i3d_rgb_imagenet", "i3d_flow_imagenet"):
        with pytest.raises(Exception, match="random weights are used only") as caught:
            find_weights(name)
        assert f"local files: {name}.safetensors" in str(caught.value)
        assert all(str(folder) in str(caught.value) for folder in _weight_folders())
        assert "Hugging Face hub: our-group/i3d" in str(caught.value)
        assert "no answer within 3 s" in str(caught.value)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_a_server_that_is_not_there(address: str) -> None:
    assert why_unreachable(address)


def test_any_answer_counts_and_half_a_file_is_none(cutting: str, tmp_path: Path) -> None:
    assert why_unreachable(f"{cutting}/anything") == ""
    with pytest.raises(OSError, match="ended after 50 of 100 bytes"):
        download(f"{cutting}/file", tmp_path / "file.pt")
    assert list(tmp_path.iterdir()) == []
