"""What the EPIC-KITCHENS-100 action recognition challenge fixes: how many classes, and how an action is numbered.

Source: EPIC_100_verb_classes.csv and EPIC_100_noun_classes.csv of epic-kitchens/epic-kitchens-100-annotations, and
the scorer epic-kitchens/C1-Action-Recognition, which takes exactly 97 verb and 300 noun scores per segment.
"""

__version__ = "0.2.0"

NUM_VERBS = 97
NUM_NOUNS = 300
ACTION_BASE = 1000  # action id = verb * 1000 + noun: larger than any noun id, readable in decimal
