import numpy as np
import pytest
from hypothesis import strategies as st

from epicsub.predictions import Predictions
from epicsub.submission import Levels, check_submission, write_submission

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
def provenance():
    """What a caller of write_submission says of the members."""
    return {
        "protocol": "validation/tiny.yaml",
        "views": "1x1",
        "filled_with_prior": {},
        "members": [{"name": "a", "kind": "predictions", "sha256": "0" * 64, "weight": 1.0}],
    }


@pytest.fixture
def written(tmp_path, ids, provenance):
    """A good submission of six segments."""
    return write_submission(tmp_path / "submissions" / "one", random_predictions(), ids, 6, Levels(2, 3, 3), provenance)


@pytest.fixture
def alone(written):
    """The good submission without the manifest, which knows the good content."""
    written.manifest.unlink()
    return written


def _organisers(verb, noun, k):
    """Slow and plain: softmax over the whole table, the 100 highest nouns, every product, a full sort.

    Returns the k best pairs of each row and their products.
    """
    nouns = np.argsort(noun, axis=1, kind="stable")[:, ::-1][:, :100]
    top = np.take_along_axis(noun, nouns, axis=1)
    verb_share = np.exp(verb - verb.max()) / np.exp(verb - verb.max()).sum()
    noun_share = np.exp(top - top.max()) / np.exp(top - top.max()).sum()
    pairs, highest = [], []
    for row in range(len(verb)):
        products = (verb_share[row][:, None] * noun_share[row]).ravel()
        order = np.argsort(products, kind="stable")[::-1][:k]
        pairs.append([(int(place // 100), int(nouns[row, place % 100])) for place in order])
        highest.append(products[order])
    return pairs, highest


@pytest.fixture(scope="session")
def organisers():
    """The organisers' formula as it reads."""
    return _organisers


class Draw:
    """A place of a file of six segments, as hypothesis draws it: a segment, another one, a head, a class of it."""

    def __init__(self, data):
        self.row, self.other = data.draw(st.lists(st.sampled_from(range(6)), min_size=2, max_size=2, unique=True))
        self.kind = data.draw(st.sampled_from(["verb", "noun"]))
        self.size = {"verb": 97, "noun": 300}[self.kind]
        self.place = data.draw(st.integers(0, self.size - 1))
        self.key = f"{self.kind}_output"
        self.id, self.other_id = IDS[self.row], IDS[self.other]


@pytest.fixture(scope="session")
def draw():
    return Draw


@pytest.fixture(scope="session")
def problems_of():
    """Problems of a file that should hold `random_predictions()`; the validation list has P01_11_0 to 8."""

    def check(path):
        others = {"validation.csv": [f"P01_11_{n}" for n in range(9)]}
        return check_submission(path, IDS, 6, own=random_predictions(), other_lists=others).problems

    return check
