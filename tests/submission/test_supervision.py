import pytest

from epicsub.errors import SubmissionError
from epicsub.submission import Levels, combine_levels, levels_of_recipe

TRAINED = {"pretraining": 2, "labels": 3, "data": 3}


def test_of_each_kind_the_highest():
    members = {
        "a": TRAINED,
        "b": {"pretraining": 0, "labels": 5, "data": 3},
        "c": {"pretraining": 1, "labels": 0, "data": 4},
    }
    assert combine_levels(members) == Levels(2, 5, 4)
    assert combine_levels(members).as_json() == {"sls_pt": 2, "sls_tl": 5, "sls_td": 4}


def test_a_stated_level_may_be_higher_not_lower():
    assert combine_levels({"a": TRAINED}, {"pretraining": 5, "labels": None, "data": 3}) == Levels(5, 3, 3)
    with pytest.raises(SubmissionError) as caught:
        combine_levels({"a": TRAINED, "b": TRAINED}, {"pretraining": 1})
    assert str(caught.value).splitlines() == [
        "--sls-pt 1 is lower than the 2 of a; state 2 or more",
        "--sls-pt 1 is lower than the 2 of b; state 2 or more",
    ]


def test_a_member_that_does_not_know_its_own():
    with pytest.raises(SubmissionError) as caught:
        combine_levels({"a": TRAINED, "file": None}, {"labels": 3})
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "supervision level pretraining is not known for file",
        "supervision level data is not known for file",
    ]
    assert "give --sls-td 0-5" in str(caught.value)
    assert combine_levels({"file": None}, {"pretraining": 0, "labels": 0, "data": 0}) == Levels(0, 0, 0)


@pytest.mark.parametrize("level", [-1, 6, 2.0, True, "2"])
def test_levels_outside_the_scale(level):
    with pytest.raises(SubmissionError, match=r"level labels is .*, a whole number from 0 to 5 expected"):
        Levels(2, level, 3)


def recipe(source=("train.csv",), target=(), weights=None, stated=(0, 3, 3)):
    return {
        "supervision": dict(zip(("pretraining", "labels", "data"), stated, strict=True)),
        "data": {"source": list(source), "target": list(target)},
        "model": {"name": "i3d", "weights": weights},
    }


KINETICS = {"rgb": "i3d_rgb_imagenet", "flow": None}


@pytest.mark.parametrize(
    ("made", "levels"),
    [
        (recipe(), (0, 3, 3)),
        (recipe(stated=(0, 0, 0)), (0, 3, 3)),  # the training list alone
        (recipe(source=["train.csv", "validation.csv"]), (0, 3, 4)),
        (recipe(target=["test.csv"]), (0, 3, 4)),  # without labels, but seen
        (recipe(target=["target_train.csv"]), (0, 3, 3)),  # a part of the training kitchens: as the recipe says
        (recipe(weights=KINETICS), (2, 3, 3)),
        (recipe(weights="timm"), (1, 3, 3)),
        (recipe(weights="own.pth"), (0, 3, 3)),  # a file of anything: as the recipe says
        (recipe(weights=KINETICS, stated=(5, 5, 5)), (5, 5, 5)),  # it may know of more
    ],
)
def test_what_lists_and_weights_show(made, levels):
    derived = levels_of_recipe(made, ["train.csv"], ["validation.csv", "test.csv"])
    assert tuple(derived.levels.values()) == levels


def test_a_level_that_is_raised_is_said():
    made = recipe(["train.csv", "validation.csv"], weights=KINETICS)
    assert levels_of_recipe(made, ["train.csv"], ["validation.csv", "test.csv"]).notes == [
        "supervision level pretraining is 2, not 0 as its recipe says: it starts from i3d_rgb_imagenet, None",
        "supervision level data is 4, not 3 as its recipe says: it trains on validation.csv",
    ]


SEEN = {"pretext": "order", "videos": ["P01_01"], "levels": {"pretraining": 3, "data": 3}}


@pytest.mark.parametrize(
    ("lists", "videos", "levels"),
    [
        (["train.csv"], [], (3, 3, 3)),
        (["train.csv", "test.csv"], [], (3, 3, 4)),
        (["mine.csv"], ["P01_01", "P09_01"], (3, 3, 4)),  # a list of another name, with a video of the test list
        (["mine.csv"], ["P09_01"], (3, 3, 3)),
    ],
)
def test_what_initial_weights_have_seen(lists, videos, levels):
    initial = SEEN | {"lists": dict.fromkeys(lists, "digest")}
    derived = levels_of_recipe(recipe(stated=(0, 3, 3)), ["train.csv"], ["validation.csv", "test.csv"], initial, videos)
    assert tuple(derived.levels.values()) == levels
    assert "its initial weights were pre-trained by order" in derived.notes[0]
