import pytest

from epicsub.errors import SubmissionError
from epicsub.submission import Levels, combine_levels

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
