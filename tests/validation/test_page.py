"""What the HTML report holds; test_page_browser.py looks at it."""

import json
import re

import numpy as np
import pytest

from epicsub.predictions import Predictions
from epicsub.validation.page import CURVE_POINTS, confident_mistakes, curves

NASTY = "</script><b>cut</b>"  # the name of verb 3 here


def test_the_page_is_one_file_that_names_no_other(page):
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]
    text = page.read_text()
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#|data:)", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "default-src 'none'" in text


def test_names_cannot_become_markup(page, content):
    text = page.read_text()
    assert text.count("</script>") == 2  # the two elements' own ends
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["classes"]["verb"]["3"] == NASTY
    assert data["models"][0]["scores"] == content["models"][0]["scores"]


def test_mistakes_are_wrong_and_surest_first(world):
    reference, background, models = world
    made = models[0].predictions
    found = confident_mistakes(made, reference, background, most=400)
    labels = reference.labels.set_index("narration_id")
    wrong = {}
    for row, name in enumerate(made.narration_ids):
        verb, noun = made.verb_logprobs[row], made.noun_logprobs[row]
        if (verb.argmax(), noun.argmax()) != tuple(labels.loc[name, ["verb_class", "noun_class"]]):
            wrong[name] = float(np.exp(verb.max()) * np.exp(noun.max()))
    assert {mistake["id"] for mistake in found} == set(wrong)
    confidence = [mistake["confidence"] for mistake in found]
    assert confidence == sorted(confidence, reverse=True)
    for mistake in found:
        assert mistake["confidence"] == pytest.approx(wrong[mistake["id"]], rel=1e-5)
        assert not (mistake["verb"]["right"] and mistake["noun"]["right"])
        label = labels.loc[mistake["id"]]
        assert mistake["verb"]["true"] == background.name("verb", label["verb_class"])
        row = int(np.flatnonzero(made.narration_ids == mistake["id"])[0])
        assert mistake["verb"]["p_true"] == pytest.approx(
            np.exp(made.verb_logprobs[row, label["verb_class"]]), rel=1e-5
        )


def test_a_model_without_mistakes_has_none(make_labels, world):
    reference, background, _ = world
    count = len(reference.labels)
    verb, noun = np.zeros((count, 97)), np.zeros((count, 300))
    verb[np.arange(count), reference.labels["verb_class"]] = 9
    noun[np.arange(count), reference.labels["noun_class"]] = 9
    made = Predictions.from_scores(reference.labels["narration_id"].tolist(), verb, noun)
    assert confident_mistakes(made, reference, background) == []


def test_curves_are_thinned_and_keep_their_ends():
    lines = [
        {"kind": "train", "step": n, "stage": 1, "loss": 1.0 * n, "note": "x", "bad": float("nan")} for n in range(5000)
    ]
    found = curves([*lines, {"kind": "evaluation", "step": 5000, "verb": 50}])
    assert set(found) == {"train: loss", "evaluation: verb"}
    points = found["train: loss"]
    assert len(points) == CURVE_POINTS
    assert (points[0], points[-1]) == ([0, 0.0], [4999, 4999.0])
    assert found["evaluation: verb"] == [[5000, 50]]
