"""Small synthetic kitchens in the organisers' layout: enough to train, validate and submit without the real videos.

Nothing here looks like a real kitchen, and nothing is copied from the organisers but the file layout, the columns and
the class ids. `make_kitchens` writes the whole data root.
"""

from epicsub.synth.plan import SynthSettings
from epicsub.synth.write import SynthSummary, make_kitchens

__all__ = ["SynthSettings", "SynthSummary", "make_kitchens"]
