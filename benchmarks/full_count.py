"""A submission of the challenge's full count, 9,449 segments, from three trained members.

    python benchmarks/full_count.py MEMBER MEMBER MEMBER --json benchmarks/results/full_count.json

Draws kitchens with 9,449 short test segments, computes their flow, then times `epicsub submit --ensemble` and samples
the memory of all its processes (proportional set size, so that shared pages count once).
"""

import subprocess
import sys
import time
from pathlib import Path

import torch
from machine import benchmark_parser, write_figures

COUNT = 9449


def main() -> None:
    """Make the data, time the submission, reopen what it wrote."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("members", nargs="+")
    parser.add_argument("--kitchens", type=Path, default=Path("kitchens_full"))
    arguments = parser.parse_args()
    data = ["--data", str(arguments.kitchens)]
    sizes = ["--train", "48", "--heldout", "12", "--validation", "24", "--test", str(COUNT)]
    command("data", "synth", str(arguments.kitchens), *sizes)
    command("data", "flow", *data)
    protocol = ["--protocol", "validation/ek100.yaml"]
    words = ["submit", "--ensemble", *arguments.members, "--name", "full_count", *protocol, *data]
    seconds, peak = timed(words)
    for name in ("submission.pt", "submission.zip", "submission_json.zip"):
        command("check", f"submissions/full_count/{name}", *protocol, *data)
    rows = torch.load("submissions/full_count/submission.pt", weights_only=True)
    print(f"\n{len(rows)} rows from {len(arguments.members)} members: {seconds / 60:.1f} min, {peak:.2f} GB at most")
    figures = {"submit_minutes": seconds / 60, "submit_peak_gb": peak, "rows": len(rows)}
    write_figures(arguments.json, figures, members=arguments.members)


def command(*words: str) -> None:
    """Run one epicsub command; stop with it if it fails."""
    print("$ epicsub", *words, flush=True)
    subprocess.run([sys.executable, "-m", "epicsub", *words], check=True)


def timed(words: list[str]) -> tuple[float, float]:
    """Seconds that a command took, and the most memory in GB that it and its children held at once."""
    print("$ epicsub", *words, flush=True)
    began, peak = time.monotonic(), 0.0
    process = subprocess.Popen([sys.executable, "-m", "epicsub", *words])
    while process.poll() is None:
        peak = max(peak, sum(map(resident, family(process.pid))))
        time.sleep(0.5)
    if process.returncode:
        sys.exit(process.returncode)
    return time.monotonic() - began, peak


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in read(task).split():
            found += family(int(child))
    return found


def resident(pid: int) -> float:
    """Proportional set size in GB."""
    for line in read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e9
    return 0.0


def read(path: Path) -> str:
    """A file's text, empty where its process has just ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


if __name__ == "__main__":
    main()
