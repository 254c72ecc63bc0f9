import numpy as np
import pytest

from epicsub.predictions import Predictions
from epicsub.submission import Levels, write_submission

IDS = [f"P01_101_{n}" for n in range(6)]


def random_predictions(ids=IDS, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    return Predictions.from_scores(ids, rng.normal(0, spread, (len(ids), 97)), rng.normal(0, spread, (len(ids), 300)))


@pytest.fixture
def ids():
    return list(IDS)


@pytest.fixture
def make_predictions():
    return random_predictions


@pytest.fixture
def story():
    """What a caller of write_submission says of the members."""
    return {
        "protocol": "validation/tiny.yaml",
        "views": "1x1",
        "filled_with_prior": {},
        "members": [{"name": "a", "kind": "predictions", "sha256": "0" * 64, "weight": 1.0}],
    }


@pytest.fixture
def written(tmp_path, ids, story):
    """A good submission of six segments."""
    return write_submission(tmp_path / "submissions" / "one", random_predictions(), ids, 6, Levels(2, 3, 3), story)
