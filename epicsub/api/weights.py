"""Published weights: what there is, fetching one, converting a file that was downloaded by hand."""

from dataclasses import dataclass
from pathlib import Path

from epicsub.models.table import MODELS


@dataclass(frozen=True)
class PublishedWeights:
    """A published file of weights, and whether it is on this machine."""

    name: str
    """As `model.weights` of a recipe names it."""
    model: str
    """Model and variant or backbone that it fits."""
    source: str
    """Who publishes it, and what it was trained on."""
    licence: str
    checksum: str
    """sha256:HEX or git:HEX of the published file; empty where its publisher names none."""
    path: Path | None
    """Where it lies on this machine; None where it must be fetched."""


def list_weights() -> list[PublishedWeights]:
    """List every published file that recipes can name.

    Returns:
        One row per file, in the order of the models.
    """
    from epicsub.models.published import find_on_this_machine  # torch and timm, which parsing needs not

    return [
        PublishedWeights(name, row.model, row.source, row.licence, row.checksum, find_on_this_machine(name))
        for model in MODELS.values()
        for name, row in model.weights.items()
    ]


def fetch_weights(name: str, folder: str | Path | None = None) -> Path:
    """Find or download a published file, check it, and keep it as safetensors.

    Args:
        name: one of `list_weights()`.
        folder: where to write NAME.safetensors; None for the cache that recipes look into.

    Returns:
        The file.

    Raises:
        ModelError: no such name, the file is nowhere, or it is not the published one.
    """
    from epicsub.models.published import fetch_weights as fetch  # torch and timm

    return fetch(name, Path(folder) if folder is not None else None)


def convert_weights(file: str | Path, target: str | Path | None = None, name: str | None = None) -> Path:
    """Convert a downloaded file to safetensors under the names of our network.

    Args:
        file: a published file, the archive of a package that carries one, or any torch file of named tensors.
        target: file to write; None: NAME.safetensors beside it, or the file's own name where it is not published.
        name: which of `list_weights()` it is; None takes the one whose name or content it has.

    Returns:
        The file that was written.

    Raises:
        ModelError: the file is missing, cannot be read, or is not the published one.
    """
    from epicsub.models.published import convert_weights as convert  # torch and timm

    return convert(Path(file), Path(target) if target is not None else None, name)
