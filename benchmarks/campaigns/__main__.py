"""Run fault campaigns: `python -m benchmarks.campaigns [NAME...]`; the package's docstring says how to write one."""

import argparse
import json
import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # `python benchmarks/campaigns` has only this folder there

from benchmarks.campaigns import CAMPAIGNS, runner
from benchmarks.machine import here
from epicsub.io import write_text


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser("benchmarks.campaigns", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(CAMPAIGNS)}; all if none is named")
    parser.add_argument("--minutes", type=float, help="share so many minutes among the campaigns, then stop")
    parser.add_argument("--trials", type=int, default=sys.maxsize, help="only so many first trials of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="run trials that failed again")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="write figures to FILE, else print them")
    options = parser.parse_args(words)
    names = options.names or list(CAMPAIGNS)
    if unknown := [name for name in names if name not in CAMPAIGNS]:
        parser.error(f"no campaign named {', '.join(unknown)}; there are {', '.join(CAMPAIGNS)}")
    end = math.inf if options.minutes is None else time.monotonic() + 60 * options.minutes
    summaries = {}
    for position, name in enumerate(names):
        campaign = runner.load(name)
        if options.again:
            runner.forget(name, campaign, options.seed, runner.STATE)
        seconds = (end - time.monotonic()) / (len(names) - position)
        rows = runner.run(name, campaign, options.seed, runner.STATE, seconds, options.trials)
        part = summaries[name] = runner.summary(campaign, rows, options.seed)
        counts = ", ".join(f"{outcome} {count}" for outcome, count in part["counts"].items())
        print(f"{name}: {part['done']} of {part['of']} trials: {counts}", file=sys.stderr, flush=True)
    runner.write_record(runner.RECORD, summaries)
    if options.json is not None:
        figures = {key: value for part in summaries.values() for key, value in part["figures"].items()}
        text = json.dumps(here() | {"figures": figures, "campaigns": summaries}, indent=1) + "\n"
        if options.json == "-":
            print(text, end="")
        else:
            write_text(Path(options.json), text)
    return int(any(part["failed"] for part in summaries.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
