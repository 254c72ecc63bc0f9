"""`supervision` and `evaluation` of a recipe."""

from epicsub.recipe.base import Count, Level, Section, Text, ViewSpec


class Supervision(Section):
    """The organisers' supervision levels (arXiv 2008.09890) of a model that this recipe trains; 0 none to 5 most."""

    pretraining: Level
    """sls_pt, level: what the initial weights were trained on (the organisers' default is 2)."""
    labels: Level
    """sls_tl, level: which labels training reads (the organisers' default is 3)."""
    data: Level
    """sls_td, level: which clips training sees; 3 the training list, 4 the validation list too."""


class EvaluationSettings(Section):
    """How the model is scored and how it predicts."""

    protocol: Text = "validation/ek100.yaml"
    """File that names the lists, counts and class subsets."""
    views: ViewSpec = "1x1"
    """Temporal clips x spatial crops of a segment, +flip for mirrored ones too."""
    batch_size: Count
    """Segments per forward pass."""
