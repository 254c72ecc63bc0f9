"""Labels and predictions as the organisers have them, made up."""

import numpy as np
import pandas as pd
import pytest

from epicsub.predictions import Predictions


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
