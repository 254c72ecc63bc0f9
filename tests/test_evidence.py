"""The tables of README.md and docs/evidence.md are those of the results."""

import subprocess
import sys
from pathlib import Path


def test_the_tables_are_up_to_date(repository: Path) -> None:
    words = [sys.executable, "benchmarks/evidence_tables.py", "--check"]
    done = subprocess.run(words, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
