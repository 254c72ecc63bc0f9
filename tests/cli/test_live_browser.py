"""The page in headless Chromium, whose camera plays clips of the small kitchens.

LIVE_PICTURES=DIR keeps the screenshots.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import av
import pytest

from epicsub.api.predict import load_model
from epicsub.live.classify import LiveModel
from tests.browser import CHROMIUM, DRIVER, needs_chromium
from tests.cli.live_pieces import separating, serving, two_segments, video_of

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install -e '.[dev]'")
pytestmark = [
    needs_chromium,
    pytest.mark.xdist_group("cli"),  # one worker makes the kitchens and the run for all
]


def write_y4m(path: Path, parts: list[tuple[Path, float, float]], seconds: float) -> Path:
    """Parts of videos, each again and again for so many seconds, as Chromium's fake camera plays them."""
    with open(path, "wb") as out:
        for video, start, stop in parts:
            with av.open(str(video)) as container:
                stream = container.streams.video[0]
                rate = stream.average_rate
                frames = [f for f in container.decode(stream) if start <= f.time <= stop]
            if out.tell() == 0:
                size = f"W{stream.width} H{stream.height} F{rate.numerator}:{rate.denominator}"
                out.write(f"YUV4MPEG2 {size} Ip A1:1 C420jpeg\n".encode())
            for count in range(int(seconds * rate)):
                planes = frames[count % len(frames)].to_ndarray(format="yuv420p")
                out.write(b"FRAME\n" + planes.tobytes())
    return path


@pytest.fixture(scope="module")
def model(run: Path, kitchens: Path, tmp_path_factory: pytest.TempPathFactory) -> LiveModel:
    path = separating(run, kitchens, tmp_path_factory.mktemp("live") / "two.pth")
    return LiveModel("two_clips", load_model(path, data=kitchens, device="cpu"))


@pytest.fixture(scope="module")
def address(model: LiveModel, kitchens: Path) -> Iterator[str]:
    with serving(model, kitchens) as (where, _):
        yield f"http://{where}/"


def chromium(camera: Path | None = None, refused: bool = False):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    words = ["headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "force-device-scale-factor=1"]
    if camera:
        words += ["use-fake-device-for-media-stream", f"use-file-for-fake-video-capture={camera}"]
    words += ["deny-permission-prompts" if refused else "use-fake-ui-for-media-stream"]
    for word in words:
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


@pytest.fixture
def browsers() -> Iterator[list]:
    opened: list = []
    yield opened
    for one in opened:
        one.quit()


def find(browser, selector):
    return browser.find_element("css selector", selector)


def wait(browser, script: str, seconds: float = 90):
    """What a line of JavaScript gives, once it gives anything."""
    began = monotonic()
    while monotonic() - began < seconds:
        if (found := browser.execute_script(f"return {script}")) not in (None, False, "", 0):
            return found
        sleep(0.1)
    raise AssertionError(f"never: {script}; the page says {find(browser, 'body').text!r}")


def picture(browser, name: str, width: int = 1200, dark: bool = False) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    sleep(0.3)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), f"{name}: too wide"
    if folder := os.environ.get("LIVE_PICTURES"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_the_camera_is_named_and_the_name_changes_with_the_clip(browsers, address, model, kitchens, tmp_path) -> None:
    """And with two browsers at once."""
    segments = two_segments(kitchens)
    half = model.cut.seconds / 2
    parts = []
    for segment in segments:
        middle = (segment.start + segment.stop) / 2
        parts.append((video_of(kitchens, segment), middle - half, middle + half))
    both = write_y4m(tmp_path / "both.y4m", parts, 4)
    names = model.model.names["verb"]
    browsers += [chromium(both), chromium(write_y4m(tmp_path / "one.y4m", parts[:1], 4))]
    first, second = browsers
    for browser in browsers:
        browser.get(address)
        wait(browser, "document.querySelector('#answers .run') && page")
        find(browser, "#start").click()
    for verb in (0, 5):
        wait(first, f"document.querySelector('.first').textContent.startsWith({names[verb]!r})")
    wait(second, f"document.querySelector('.first').textContent.startsWith({names[0]!r})")
    assert re.fullmatch(r"\d+ ms", find(first, "#latency").text)
    assert float(find(first, "#clips").text) > 0
    assert find(first, "#dropped").text.isdecimal()
    assert len(first.find_elements("css selector", "#answers .row")) == 15
    for name, width, dark in (("camera_light", 1200, False), ("camera_dark", 1200, True), ("camera_390", 390, False)):
        picture(first, name, width, dark)
    first.execute_script("document.getElementById('webcam').srcObject.getVideoTracks()[0].onended()")
    assert "unplugged" in find(first, "#message").text
    assert [entry for entry in first.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_file_and_a_narration_have_a_timeline_that_plays(browsers, address, kitchens, tmp_path) -> None:
    segment = two_segments(kitchens)[0]
    video = video_of(kitchens, segment)
    browser = chromium()
    browsers.append(browser)
    browser.get(address)
    wait(browser, "page")
    find(browser, "#tab-file").click()
    find(browser, "#upload").send_keys(str(video))
    wait(browser, "!document.getElementById('watched').hidden && document.querySelectorAll('.track button').length")
    wait(browser, "document.getElementById('player').readyState > 1")
    find(browser, ".track button").click()
    assert len(browser.find_elements("css selector", "#chosen .row")) == 15
    wait(browser, "document.getElementById('player').currentTime > 0")
    find(browser, "#identity").send_keys(segment.narration_id)
    find(browser, "#narration button").click()
    wait(browser, "document.querySelector('[data-lane=truth] button')")
    find(browser, f"[data-lane=truth] button[title*='{segment.start:.1f} to']").click()
    assert find(browser, ".truth").text.startswith("truth: ")
    assert "no label" not in find(browser, ".truth").text
    for name, width, dark in (("file_light", 1200, False), ("file_dark", 1200, True), ("file_390", 390, False)):
        picture(browser, name, width, dark)
    no_video = tmp_path / "notes.mp4"
    no_video.write_text("spoon")
    find(browser, "#upload").send_keys(str(no_video))
    wait(browser, "document.getElementById('message').textContent.includes('no video that is taken here')")
    huge = tmp_path / "huge.mp4"
    with open(huge, "wb") as handle:
        handle.truncate(10_000_000_000)
    find(browser, "#upload").send_keys(str(huge))
    wait(browser, "document.getElementById('message').textContent.includes('huge.mp4 has 10.0 GB')")
    assert browser.execute_script("return fetch('/api/about').then((answer) => answer.ok)")


def test_a_camera_that_is_refused_or_missing(browsers, address, tmp_path, kitchens) -> None:
    browsers += [chromium(refused=True)]
    for browser in browsers:
        browser.get(address)
        wait(browser, "page")
        find(browser, "#start").click()
        said = wait(browser, "document.getElementById('message').textContent")
        assert "camera" in said
        assert find(browser, "#start").is_displayed()
