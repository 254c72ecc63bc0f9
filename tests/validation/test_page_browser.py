"""The HTML report in headless Chromium: it is clicked, sorted, filtered and photographed."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from epicsub.validation import Background, Model, page_data, write_page
from epicsub.validation.page import CURVE_POINTS
from tests.browser import CHROMIUM, DRIVER, needs_chromium

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install -e '.[dev]'")
pytestmark = [
    needs_chromium,
    pytest.mark.xdist_group("chromium"),
]
NASTY = "</script><b>cut</b>"  # the name of verb 3 here


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, or a skip that says what is missing."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "force-device-scale-factor=1"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def look(browser, page, width=1200, dark=False):
    """Open the page at a width, in light or dark."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())


def find(browser, selector):
    return browser.find_element("css selector", selector)


def texts(browser, selector):
    return [found.text for found in browser.find_elements("css selector", selector)]


def press(browser, selector, text):
    """Click the button of a text within `selector`."""
    next(b for b in browser.find_elements("css selector", f"{selector} button") if b.text == text).click()


def assert_no_slips(browser):
    """What JavaScript writes where a value was forgotten."""
    assert not re.search(r"null|undefined|NaN|\[object", find(browser, "body").text)


def test_everything_is_drawn_and_nothing_fetched(browser, page, content):
    look(browser, page)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert texts(browser, "#models .card span") == ["coverage: 300 of 300", "coverage: 200 of 300"]
    assert find(browser, "#models .card:nth-child(2) span").get_attribute("class") == "part"
    cell = find(browser, "#scores tbody tr:first-child td:nth-child(4)").text
    scores, intervals = content["models"][0]["scores"], content["models"][0]["intervals"]
    low, high = intervals["all_action_accuracy_at_1"]
    assert f"{scores['all_action_accuracy_at_1']:.1f}" in cell
    assert f"{low:.1f} \u2013 {high:.1f}" in cell
    assert "second less first, 200 segments" in find(browser, "#compare").text
    assert len(texts(browser, "#compare tbody tr")) == 12
    assert len(texts(browser, "#calibration svg")) == 3
    assert "no frame rates" in find(browser, "#scores").text
    image = find(browser, "#mistakes img")
    assert browser.execute_script("return arguments[0].naturalWidth", image) == 32
    assert "P01_01.MP4: no such file" in texts(browser, "#mistakes .none")
    assert_no_slips(browser)


def test_classes_sort_and_filter(browser, page, content):
    look(browser, page)
    rows = "#classes-table tbody tr"
    assert len(texts(browser, rows)) == len(content["models"][0]["tables"]["verb"])
    press(browser, "#classes-table thead", "top-1")
    heads = texts(browser, "#classes-table thead th")
    column = f"{rows} td:nth-child({heads.index('top-1 ▼') + 1 if 'top-1 ▼' in heads else heads.index('top-1') + 1})"
    down = [float(text) for text in texts(browser, column) if text]
    assert down == sorted(down, reverse=True)
    assert len(set(down)) > 3
    press(browser, "#classes-table thead", "top-1")
    assert [float(text) for text in texts(browser, column) if text] == down[::-1]
    press(browser, "#classes-table thead", "class")
    names = texts(browser, f"{rows} th")
    assert names == sorted(names, key=str.lower)
    assert NASTY in names  # as text, not as an element
    find(browser, "#classes-filter").send_keys("take")
    kept = texts(browser, rows)
    assert 0 < len(kept) < len(names)
    assert all("take" in text for text in kept)
    assert find(browser, "#classes-count").text == f"{len(kept)} of {len(names)} classes"
    find(browser, "#classes-filter").clear()
    find(browser, "#classes-filter").send_keys(" ")
    find(browser, "#classes-filter").send_keys("\b")
    press(browser, "#classes .bar", "tail")
    assert set(texts(browser, f"{rows} td:nth-child(2)")) == {"tail"}
    press(browser, "#classes .bar", "all")
    press(browser, "#classes .bar", "action")
    assert "take noun 0" in texts(browser, f"{rows} th")
    press(browser, "#classes .bar", "second")
    count = len(content["models"][1]["tables"]["action"])
    assert find(browser, "#classes-count").text == f"{count} of {count} classes"


def test_confusion_zooms_and_says_what_is_pointed_at(browser, page, content):
    look(browser, page)
    browser.execute_script("document.querySelector('#confusion').scrollIntoView()")
    zoom = "return window.confusionState.zoom"
    assert browser.execute_script(zoom) == 1
    press(browser, "#confusion .bar", "+")
    assert browser.execute_script(zoom) == 1.5
    find(browser, "#confusion-canvas").send_keys("+")
    assert browser.execute_script(zoom) > 1.5
    press(browser, "#confusion .bar", "whole")
    assert browser.execute_script(zoom) == 1
    press(browser, "#confusion .bar", "noun")
    find(browser, "#confusion-pairs button").click()
    wrong = [cell for cell in content["models"][0]["confusion"]["noun"] if cell[0] != cell[1]]
    row, column, count = max(wrong, key=lambda cell: cell[2])
    says = find(browser, "#confusion-says").text
    assert f": {count} of " in says
    if sum(cell[2] == count for cell in wrong) == 1:
        assert says.startswith(f"noun {row}, given as noun {column}: ")
    canvas = find(browser, "#confusion-canvas")
    webdriver.ActionChains(browser).move_to_element_with_offset(canvas, 10, 10).perform()
    assert re.fullmatch(r"noun \d+, given as noun \d+: \d+ of \d+.*", find(browser, "#confusion-says").text)
    wheel = webdriver.common.actions.wheel_input.ScrollOrigin.from_element(canvas)
    before = browser.execute_script(zoom)
    webdriver.ActionChains(browser).scroll_from_origin(wheel, 0, -240).perform()
    assert browser.execute_script(zoom) > before


def test_groups_and_curves_change(browser, page):
    look(browser, page)
    assert [text.split()[0] for text in texts(browser, "#groups-rows .group > div:first-child")] == [
        "P01",
        "P02",
        "P03",
    ]
    press(browser, "#groups .bar", "training frequency")
    assert [text.split()[0] for text in texts(browser, "#groups-rows .group > div:first-child")] == [
        "head",
        "middle",
        "tail",
    ]
    before = find(browser, "#curves polyline").get_attribute("points")
    assert len(before.split()) == CURVE_POINTS
    choose = "const s = document.querySelector('#curves select'); s.value = 'train: learning_rate'; "
    choose += "s.dispatchEvent(new Event('change'))"
    browser.execute_script(choose)
    assert find(browser, "#curves polyline").get_attribute("points") != before


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False), (390, True)])
def test_a_picture_of_it_in_light_and_dark_and_on_a_phone(browser, page, tmp_path, width, dark):
    look(browser, page, width, dark)
    path = Path(tmp_path / "page.png")
    assert browser.save_screenshot(str(path))
    picture = cv2.imread(str(path))
    assert picture.shape[1] == width
    corner, brightness = picture[2, 2].mean(), picture.mean()
    assert (corner < 40 and brightness < 80) if dark else (corner > 230 and brightness > 200)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    # Words stand out: the darkest and the lightest of the picture are far apart.
    assert int(picture.max()) - int(picture.min()) > 150
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_one_model_without_training_list_or_runs(browser, world, tmp_path):
    reference, _, models = world
    bare = Background(None, None, {}, ())
    content = page_data(
        [Model("only", models[0].predictions, models[0].evaluation, models[0].detail, [])], {}, reference, bare, "x"
    )
    look(browser, write_page(tmp_path / "one", content, {}))
    assert browser.get_log("browser") == []
    assert browser.find_elements("css selector", "#compare") == []
    assert "No curves" in find(browser, "#curves").text
    assert "in training" not in find(browser, "#classes-table thead").text
    assert texts(browser, "#mistakes .none")[0] == "no picture"
    assert_no_slips(browser)
