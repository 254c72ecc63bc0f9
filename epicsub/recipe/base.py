"""The base of every section of a recipe, and the types of its numbers and texts."""

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A section of a recipe: frozen, no unknown keys, no conversion between types, no infinite numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError("must be letters, digits, '.', '_' and '-', since it names the run's folder")
    return name


def _view_spec(spec: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]*x[13](\+flip)?", spec):
        raise ValueError("must be CLIPSxCROPS with 1 or 3 crops, optionally +flip, e.g. 1x1, 5x1 or 5x3+flip")
    return spec


Name = Annotated[str, AfterValidator(_plain_name)]
ViewSpec = Annotated[str, AfterValidator(_view_spec)]
Text = Annotated[str, Field(min_length=1)]
Level = Annotated[int, Field(ge=0, le=5)]
Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
ShareAboveZero = Annotated[float, Field(gt=0, le=1)]

# YAML has lists where a frozen recipe has tuples: `strict=False` lets the one become the other; items stay strict.
LIST = Field(strict=False)
FILLED_LIST = Field(strict=False, min_length=1)
PAIR = Field(strict=False, min_length=2, max_length=2)


def purpose_of(section: type[BaseModel], name: str) -> str:
    """Give a field's documentation, its own or that of the base, as messages quote it.

    Args:
        section: The section's class.
        name: Of the field.

    Returns:
        The docstring in one line, without its full stop.
    """
    sections = [base for base in section.__mro__ if issubclass(base, Section) and name in base.model_fields]
    texts = (base.model_fields[name].description for base in sections)
    return " ".join(next((text for text in texts if text), "").split()).removesuffix(".")


class AdaptationSection(Section):
    """What every adaptation method has."""

    reads_target: ClassVar[bool] = True
    """True for methods that read `data.target`."""
    pairs_modalities: ClassVar[bool] = False
    """True for methods between modalities, which need two or more."""

    method: str
    """Adaptation method."""

    @property
    def trains_on_target(self) -> bool:
        """True if training steps see target clips."""
        return self.reads_target

    @property
    def rolls_pairs(self) -> bool:
        """True if half of a batch's pairs of modalities are rolled, for the correspondence loss."""
        return False

    @property
    def alignment_weight(self) -> float:
        """Weight of the method's loss beside the classification loss: `loss_weight`, where a method has one."""
        return float(getattr(self, "loss_weight", 1.0))

    @property
    def set_size(self) -> int:
        """Clips of which a batch with target clips must be a multiple."""
        return 1


class AlignmentSection(AdaptationSection):
    """What every method with a domain discriminator per modality behind a gradient reversal has."""

    lam_max: NotNegative = 0.2
    """Final strength of the reversed gradient; 0.2 in [C] and [S], the paper is silent."""
    discriminator_hidden: Count = 128
    """Hidden units of a discriminator [P]."""
    loss_weight: NotNegative = 1.0
    """Weight of the alignment loss beside the classification loss [P]."""
