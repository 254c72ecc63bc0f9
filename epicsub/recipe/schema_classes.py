"""`classes` of a recipe: what there is to tell apart, for lists that have less than EPIC-KITCHENS-100."""

from typing import Annotated

from pydantic import Field

from epicsub.constants import NUM_VERBS
from epicsub.recipe.base import LIST, Section


class Classes(Section):
    """Which verbs there are, and whether there are nouns."""

    verbs: Annotated[tuple[Annotated[int, Field(ge=0, lt=NUM_VERBS)], ...], LIST] | None = None
    """The only verb classes, in EPIC-KITCHENS-100's numbers: the others get no probability; null: all 97."""
    nouns: bool = True
    """Whether source lists have nouns; false trains verbs alone and predicts every noun with the same probability."""
