"""Settings of `classes` that must fit each other and what is made of them."""

from collections.abc import Iterator

from epicsub.recipe.schema_train import HeadLoss
from epicsub.recipe.settings import Settings
from epicsub.recipe.yaml_tree import Problem, shown


def _verbs(settings: Settings) -> Iterator[Problem]:
    verbs = settings["classes.verbs"]
    if verbs is None:
        return
    if len(verbs) < 2:
        yield Problem("classes.verbs", f"is {shown(list(verbs))}: name at least two verbs, or write null for all")
    for index, verb in enumerate(verbs):
        if verb in verbs[:index]:
            yield Problem(f"classes.verbs.{index}", f"is {verb}, which stands there twice")


def _smoothing(settings: Settings) -> Iterator[Problem]:
    """Smoothing gives every one of the 97 a share, also those that can have no probability."""
    key = "train.losses.verb.label_smoothing"
    if settings["classes.verbs"] is not None and settings[key]:
        yield Problem(key, f"is {shown(settings[key])}, but classes.verbs leaves verbs no probability: write 0")


def _selection(settings: Settings) -> Iterator[Problem]:
    select = settings["train.select"]
    if not settings["classes.nouns"] and ("noun" in select or "action" in select):
        yield Problem("train.select", f"is {shown(select)}, but classes.nouns is false: there are verbs alone")


def _noun_loss(settings: Settings) -> Iterator[Problem]:
    for name, field in HeadLoss.model_fields.items():
        key = f"train.losses.noun.{name}"
        if not settings["classes.nouns"] and (found := settings[key]) != field.default:
            yield Problem(key, f"is {shown(found)}, but classes.nouns is false: leave it out")


def _contrast(settings: Settings) -> Iterator[Problem]:
    if settings["classes.nouns"] or settings["adaptation.method"] != "contrastive":
        return
    if (label := settings["adaptation.label"]) != "verb":
        yield Problem("adaptation.label", f"is {shown(label)}, but classes.nouns is false: write verb")


CLASSES_RELATIONS = (_verbs, _smoothing, _selection, _noun_loss, _contrast)
