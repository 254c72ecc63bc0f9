"""Fault campaigns: thousands of seeded trials, each with one outcome, and outcomes that may never occur.

    python -m benchmarks.campaigns                           # all of CAMPAIGNS, to their full size
    python -m benchmarks.campaigns kill video --minutes 60   # these two, half an hour each, then goes on when run again
    python -m benchmarks.campaigns kill --again              # once mended: try what went wrong again

A campaign is a module of this folder, named in CAMPAIGNS:

    TOTAL = 2000                                  # the full size
    MUST_BE_ZERO = ("traceback", "wrong")         # outcomes that fail the campaign, beside "error"

    def prepare(folder: Path) -> None:
        "Make what all trials read, in folder / 'inputs'. Called once per seed and state of the source."

    def trial(folder: Path, rng: random.Random, index: int) -> dict[str, str]:
        "One trial. All chance comes from rng, which has its own seed per (seed, campaign, index). Write into
        folder / 'scratch', empty when a trial begins. outcome is one of a few words; detail is what was done and seen."
        return {"outcome": "refused", "detail": "byte 77 of noun_class flipped: ..."}

    def figures(counts: dict[str, int]) -> dict[str, int]:
        "Figures by the name they are published under; counts has the number of trials per outcome (a Counter)."
        return {"tables_total": sum(counts.values()), "tables_wrong": counts["wrong"]}

A trial that raises counts as "error". What a trial cannot bound itself it must run in a process of its own. Finished
trials are kept, one line each, in state/NAME-SEED/trials.jsonl beside this file, so that a campaign that is killed goes
on. A campaign that reached its full size is recorded in benchmarks/results/campaigns.json, with how many trials ran on
which commit.
"""

# Each is benchmarks/campaigns/NAME.py.
CAMPAIGNS = ("hostile", "kill", "predictions", "recipes", "resources", "submissions", "tables", "video")
