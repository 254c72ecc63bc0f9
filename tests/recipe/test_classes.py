"""Settings of `classes` that do not fit what is made of them."""

from pathlib import Path

import pytest

from epicsub.errors import RecipeError
from epicsub.recipe import load_recipe

TINY = Path(__file__).parents[2] / "recipes" / "tiny"


@pytest.mark.parametrize(
    ("recipe", "settings", "problem"),
    [
        ("mmir_i3d", ["classes.verbs=[3]"], "classes.verbs: is [3]: name at least two verbs, or write null for all"),
        ("mmir_i3d", ["classes.verbs=[3, 4, 3]"], "classes.verbs.2: is 3, which is listed twice, list it once"),
        ("mmir_i3d", ["classes.verbs=[3, 97]"], "classes.verbs.1: is 97, must be less than 97"),
        (
            "mmir_i3d",
            ["classes.verbs=[3, 4]", "train.losses.verb.label_smoothing=0.1"],
            "train.losses.verb.label_smoothing: is 0.1, but classes.verbs leaves verbs no probability: write 0",
        ),
        (
            "mmir_i3d",
            ["classes.nouns=false", "train.evaluate_every=10", "train.select=all_noun_accuracy_at_1"],
            "train.select: is 'all_noun_accuracy_at_1', but classes.nouns is false: there are verbs alone",
        ),
        (
            "mmir_i3d",
            ["classes.nouns=false", "train.losses.noun={weight: 2.0}"],
            "train.losses.noun.weight: is 2.0, but classes.nouns is false: leave it out",
        ),
        (
            "mmir_i3d",
            ["classes.nouns=false", "train.losses.action={}"],
            "train.losses.action: is set, but classes.nouns is false: there are no actions, leave it out",
        ),
        (
            "mmir_i3d",
            ["classes.nouns=false", "train.sampling={balance: class, by: action}"],
            "train.sampling.by: is 'action', but classes.nouns is false: write verb",
        ),
        (
            "contrastive",
            ["classes.nouns=false", "adaptation.label=action"],
            "adaptation.label: is 'action', but classes.nouns is false: write verb",
        ),
    ],
)
def test_refused(recipe: str, settings: list[str], problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(TINY / f"{recipe}.yaml", settings)
    assert str(caught.value).splitlines()[0] == f"command line  {problem}"
    assert "1 problem" in str(caught.value)


def test_the_default_is_the_whole_challenge() -> None:
    classes = load_recipe(TINY / "mmir_i3d.yaml").recipe.classes
    assert (classes.verbs, classes.nouns) == (None, True)
