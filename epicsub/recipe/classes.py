"""`classes` of a recipe: the verbs and nouns to predict, for lists with fewer than EPIC-KITCHENS-100."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from epicsub.constants import NUM_VERBS
from epicsub.recipe.base import LIST, Section
from epicsub.recipe.yaml_tree import Problem, format_value


class Classes(Section):
    """Which verbs there are, and whether there are nouns."""

    verbs: Annotated[tuple[Annotated[int, Field(ge=0, lt=NUM_VERBS)], ...], LIST] | None = None
    """The only verb classes, in EPIC-KITCHENS-100's numbers: the others get no probability; null: all 97."""
    nouns: bool = True
    """Whether source lists have nouns; false trains verbs alone and predicts every noun with the same probability."""


def check_classes(classes: Classes) -> Iterator[Problem]:
    """Check that the settings of `classes` fit each other.

    Args:
        classes: The section.

    Yields:
        What does not fit.
    """
    if classes.verbs is None:
        return
    if len(classes.verbs) < 2:
        text = f"is {format_value(classes.verbs)}: name at least two verbs, or write null for all"
        yield Problem("classes.verbs", text)
    for index, verb in enumerate(classes.verbs):
        if verb in classes.verbs[:index]:
            yield Problem(f"classes.verbs.{index}", f"is {verb}, which is listed twice")
