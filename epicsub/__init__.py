"""epicsub: from kitchen videos to a valid EPIC-KITCHENS-100 action recognition submission.

The names below are imported when they are first used, so that `import epicsub` needs neither torch nor pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from epicsub.constants import __version__

if TYPE_CHECKING:
    from epicsub.api.check import check_submission
    from epicsub.api.plan import compare_views, plan
    from epicsub.api.predict import load_model, predict
    from epicsub.api.pretrain import pretrain
    from epicsub.api.submit import ensemble, write_submission
    from epicsub.api.train import train
    from epicsub.api.validate import validate
    from epicsub.data.sources import read_frames
    from epicsub.predictions import read_predictions
    from epicsub.recipe.load import load_recipe

__all__ = [
    "__version__",
    "check_submission",
    "compare_views",
    "ensemble",
    "load_model",
    "load_recipe",
    "plan",
    "predict",
    "pretrain",
    "read_frames",
    "read_predictions",
    "train",
    "validate",
    "write_submission",
]

_MODULES = {
    "check_submission": "epicsub.api.check",
    "compare_views": "epicsub.api.plan",
    "ensemble": "epicsub.api.submit",
    "load_model": "epicsub.api.predict",
    "load_recipe": "epicsub.recipe.load",
    "plan": "epicsub.api.plan",
    "predict": "epicsub.api.predict",
    "pretrain": "epicsub.api.pretrain",
    "read_frames": "epicsub.data.sources",
    "read_predictions": "epicsub.predictions",
    "train": "epicsub.api.train",
    "validate": "epicsub.api.validate",
    "write_submission": "epicsub.api.submit",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
