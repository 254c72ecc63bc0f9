"""Memory of writing a submission, in a process that does nothing else; `scoring.py` starts it. Linux only.

    python benchmarks/writing_memory.py FOLDER json|all

FOLDER holds predictions.npz. Prints the megabytes (1e6) that the process held before it wrote, with everything imported
that writing needs, and the most that it held in the end.
"""

import sys
from pathlib import Path

from epicsub.predictions import read_predictions
from epicsub.submission import Levels, write_submission
from epicsub.submission.json_zip import write_json_zip


def main(folder: Path, what: str) -> None:
    """Write test.json in its zip, or all four files."""
    predictions = read_predictions(folder / "predictions.npz")
    if what == "all":
        import torch  # noqa: F401  the writer imports it: that is not what is measured

    before = held("VmRSS")
    if what == "all":
        member = {"name": "a", "kind": "predictions", "sha256": "", "weight": 1.0}
        provenance = {"protocol": "", "views": "", "filled_with_prior": {}, "members": [member]}
        ids = predictions.narration_ids.tolist()
        write_submission(folder / "submission", predictions, ids, len(ids), Levels(2, 3, 3), provenance)
    else:
        write_json_zip(folder / "memory.zip", predictions, Levels(2, 3, 3))
    print(before, held("VmHWM"))


def held(name: str) -> float:
    """A size of /proc/self/status; ru_maxrss would count the process that started this one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) * 1024 / 1e6


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
