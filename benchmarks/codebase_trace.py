"""Runs an epicsub command and writes what of the package ran: benchmarks/codebase.py starts it in a process of its own.

    python benchmarks/codebase_trace.py OUT.json PACKAGE train recipes/tiny/mmir_i3d.yaml ...

OUT.json holds the files of PACKAGE in which the body of a function ran, how often `torch.load` was called on a
checkpoint, and how often an index of the prepared store was read (`read_index`).
"""

import json
import runpy
import sys
import threading
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType, FrameType


def main() -> None:
    """Run the command under a tracer, then write the counts, whatever its exit status is."""
    out, package = Path(sys.argv[1]).absolute(), sys.argv[2]
    codes: set[CodeType] = set()
    opened: list[str] = []
    reads: list[str] = []

    def trace(frame: FrameType, event: str, argument: object) -> None:
        codes.add(frame.f_code)
        if frame.f_code.co_name == "read_index" and "prepared" in frame.f_code.co_filename:
            reads.append(frame.f_code.co_name)

    def audit(event: str, arguments: tuple) -> None:
        if event == "open" and str(arguments[0]).endswith(".index"):
            opened.append(str(arguments[0]))

    sys.addaudithook(audit)
    threading.settrace(trace)
    sys.settrace(trace)
    loaded = _count_loads()
    sys.argv = ["epicsub", *sys.argv[3:]]
    try:
        runpy.run_module("epicsub", run_name="__main__")
    finally:
        sys.settrace(None)
        ran = {code.co_filename for code in codes if code.co_flags & CO_OPTIMIZED}  # no module and no class body
        counts = {
            "files": sorted(name for name in ran if name.startswith(package)),
            "checkpoint_reads": len(loaded),
            "index_reads": len(reads),
            "indices": len(set(opened)),
        }
        out.write_text(json.dumps(counts))


def _count_loads() -> list[str]:
    """Names of the checkpoints that `torch.load` is called on from here on."""
    import torch  # here, because the first import is the command's to make, under the tracer

    loaded: list[str] = []
    load = torch.load

    def counting(file: object, *arguments: object, **settings: object) -> object:
        name = str(getattr(file, "name", file))
        if name.endswith(".pth"):
            loaded.append(name)
        return load(file, *arguments, **settings)

    torch.load = counting
    return loaded


if __name__ == "__main__":
    main()
