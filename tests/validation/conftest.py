"""Labels and predictions as the organisers have them, made up, and the page of two models."""

import cv2
import numpy as np
import pandas as pd
import pytest

from epicsub.predictions import Predictions
from epicsub.validation import Background, Model, Reference, compare, detail, page_data, write_page

NASTY = "</script><b>cut</b>"
VERBS = {0: "take", 1: "put", 2: "wash", 3: NASTY, 4: "open", 5: "close", 6: "turn-on", 7: "mix"}


@pytest.fixture
def make_labels():
    """N labelled segments of some videos of three kitchens; lengths of 0.2 to 12 s."""

    def make(count=200, seed=0, videos=12, verbs=8, nouns=12):
        rng = np.random.default_rng(seed)
        video = rng.integers(0, videos, count)
        return pd.DataFrame(
            {
                "narration_id": [f"P{1 + v % 3:02d}_{v:02d}_{n}" for n, v in enumerate(video)],
                "participant_id": [f"P{1 + v % 3:02d}" for v in video],
                "video_id": [f"P{1 + v % 3:02d}_{v:02d}" for v in video],
                "verb_class": np.minimum(rng.geometric(0.3, count) - 1, verbs - 1),
                "noun_class": np.minimum(rng.geometric(0.2, count) - 1, nouns - 1),
                "seconds": rng.uniform(0.2, 12, count),
            }
        )

    return make


@pytest.fixture
def make_predictions():
    """Predictions that know the labels by `rise`, over the classes that the labels have."""

    def make(labels, seed=0, rise=2.0):
        rng = np.random.default_rng(seed)
        count = len(labels)
        verb, noun = np.full((count, 97), -9.0), np.full((count, 300), -9.0)
        verb[:, :8], noun[:, :12] = rng.normal(0, 1.5, (count, 8)), rng.normal(0, 1.5, (count, 12))
        verb[np.arange(count), labels["verb_class"]] += rise
        noun[np.arange(count), labels["noun_class"]] += rise
        return Predictions.from_scores(labels["narration_id"].tolist(), verb, noun)

    return make


@pytest.fixture(scope="session")
def picture():
    """A JPEG of 32 by 18 pixels."""
    return cv2.imencode(".jpg", np.full((18, 32, 3), 90, np.uint8))[1].tobytes()


@pytest.fixture
def world(make_labels, make_predictions):
    """Reference, background and two models: the second predicts a part."""
    labels = make_labels(300)
    reference = Reference("small", labels, [6, 7], [10, 11], ["P03"])
    background = Background(make_labels(500, seed=9, verbs=6), {}, {"verb": VERBS, "noun": {}}, ("no frame rates",))
    metrics = [
        {"kind": "train", "step": 10 * n, "stage": 1, "loss": 5 / (n + 1), "learning_rate": 0.01} for n in range(900)
    ]
    models = []
    for name, rise, count in (("first", 2.0, 300), ("second", 3.0, 200)):
        made = make_predictions(labels, seed=len(name), rise=rise)
        made = made.select(made.narration_ids[:count])
        evaluation, more = reference.evaluate(made), detail(made, reference, background)
        models.append(Model(name, made, evaluation, more, metrics if name == "first" else []))
    return reference, background, models


@pytest.fixture
def content(world):
    reference, background, models = world
    differences = {"second": compare(models[0].predictions, models[1].predictions, reference)}
    return page_data(models, differences, reference, background, "Choose by training labels.")


@pytest.fixture
def page(content, picture, tmp_path):
    first, second, *_ = content["models"][0]["mistakes"]
    return write_page(tmp_path / "report", content, {first["id"]: picture, second["id"]: "P01_01.MP4: no such file"})
