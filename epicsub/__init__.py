"""epicsub: from kitchen videos to a valid EPIC-KITCHENS-100 action recognition submission."""

__version__ = "0.2.0"
