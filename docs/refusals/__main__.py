"""Tries every refusal as a new user would meet it, and writes what was really printed.

    python docs/refusals            writes docs/refusals.md
    python docs/refusals --check    compares, and exits with 1 where it is out of date

It draws small kitchens, trains a run of seconds in them, and gives the commands of the cases in a folder of its own.
`tests/cli/test_refusals_page.py` holds the page to it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from sections import SECTIONS
from trying import furnish, page

PAGE = Path(__file__).resolve().parents[1] / "refusals.md"


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        furnish(place)
        made = page(place, SECTIONS)
    if not arguments.check:
        PAGE.write_text(made, encoding="utf-8")
        print(f"wrote {PAGE}")
    elif PAGE.read_text(encoding="utf-8") != made:
        sys.exit(f"{PAGE} is out of date: run python docs/refusals")


if __name__ == "__main__":
    main()
