"""What goes wrong where several models become one."""

from trying import Case
from user_files import LEVELS, SMALL, pt, several

TWO = several(pt("a.pt"), pt("b.pt"))

ENSEMBLE = [
    Case(
        "Weights for another number of members",
        f"submit --ensemble a.pt b.pt --weights 0.5,0.3,0.2 {LEVELS} {SMALL}",
        TWO,
        "--weights 0.5,0.3,0.2",
    ),
    Case(
        "Weights that are no numbers",
        f"submit --ensemble a.pt b.pt --weights half,half {LEVELS} {SMALL}",
        TWO,
        "--weights half,half",
    ),
    Case(
        "Weights to be learned, and members without validation predictions",
        f"submit --ensemble a.pt b.pt --weights search {LEVELS} {SMALL}",
        TWO,
        "VALIDATION.npz,TEST.npz",
    ),
    Case(
        "A plan of members without validation predictions",
        f"ensemble plan a.pt b.pt {SMALL}",
        TWO,
        "has no predictions",
    ),
    Case("Views of a file, which has had its views", f"ensemble views a.pt {SMALL}", pt("a.pt"), "has had its views"),
    Case(
        "Views that cannot be read",
        f"predict short --split test -o test.npz --tta 5by3 {SMALL}",
        says="5by3",
    ),
]
