"""The cases, in the order in which a user meets them."""

from to_ensemble import ENSEMBLE
from to_scores import DATA, RECIPES, RUNS, VALIDATION
from to_upload import CHECK, LEDGER, SUBMIT, WARNINGS

SECTIONS = {
    "Recipes": RECIPES,
    "Data": DATA,
    "Runs and checkpoints": RUNS,
    "Validation": VALIDATION,
    "Ensembles": ENSEMBLE,
    "Submitting": SUBMIT,
    "Checking an upload": CHECK,
    "Warnings of the check": WARNINGS,
    "The ledger of uploads": LEDGER,
}
