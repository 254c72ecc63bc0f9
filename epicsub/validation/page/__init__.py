"""The report as one HTML file that needs nothing else: no network, no other file, no framework."""

import base64
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from epicsub.errors import ValidationError
from epicsub.io import write_text

SCRIPTS = ("draw.js", "scores.js", "curves.js", "confusion.js", "classes.js", "mistakes.js", "main.js")


def write_page(folder: Path, data: Mapping[str, Any], pictures: Mapping[str, bytes | str]) -> Path:
    """Write `folder/index.html`, whole or not at all, and return its path.

    Args:
        folder: made if need be.
        data: as `page_data` gives it.
        pictures: narration id -> JPEG, or in words why there is none.

    Raises:
        ValidationError: the place cannot be written.
    """
    path = Path(folder) / "index.html"
    try:
        write_text(path, page(data, pictures))
    except OSError as error:
        raise ValidationError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def page(data: Mapping[str, Any], pictures: Mapping[str, bytes | str]) -> str:
    """The page's text. Its policy forbids every connection, so what is not in it cannot be fetched."""
    shown = {
        name: "data:image/jpeg;base64," + base64.b64encode(found).decode() if isinstance(found, bytes) else found
        for name, found in pictures.items()
    }
    content = json.dumps({**data, "pictures": shown}, separators=(",", ":"), allow_nan=False)
    parts = {
        "STYLE": _part("page.css"),
        "SCRIPT": "\n".join(_part(name) for name in SCRIPTS),
        # Inside a script element only "<" can end it: `</script>` or `<!--` in a name must not.
        "DATA": content.replace("<", "\\u003c"),
    }
    text = _part("page.html")
    for name, part in parts.items():
        before, mark, after = text.partition(f"/*{name}*/")
        assert mark, name
        text = before + part + after
    return text


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
