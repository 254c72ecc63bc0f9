"""The tables of README.md and docs/evidence.md are those of the results."""

import subprocess
import sys
from pathlib import Path


def test_the_tables_are_up_to_date(repository: Path) -> None:
    made = subprocess.run(
        [sys.executable, "docs/evidence.py", "--check"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
