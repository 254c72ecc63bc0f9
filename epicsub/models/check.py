"""Weights that a recipe names for another network, or not for each of its streams."""

from collections.abc import Iterable, Sequence

from epicsub.errors import ModelError
from epicsub.models.table import WEIGHTS


def check_fit(name: str | None, model: str) -> None:
    """Refuse a published file that is for another network.

    Args:
        name: of the weights, published or not.
        model: the network, as the column of `WEIGHTS` calls it.

    Raises:
        ModelError: it is for another.
    """
    if name in WEIGHTS and WEIGHTS[name].model != model:
        raise ModelError(f"weights {name} are for {WEIGHTS[name].model}, not for {model}: see `epicsub weights list`")


def check_modalities(what: str, given: Iterable[str], modalities: Sequence[str]) -> None:
    """Refuse a setting per modality that lacks one or has one too many.

    Args:
        what: the setting.
        given: modalities that it names.
        modalities: of the streams.

    Raises:
        ModelError: they differ.
    """
    if set(given) != set(modalities):
        raise ModelError(f"{what} are given for {sorted(given)}, the streams are {sorted(modalities)}; name each one")
