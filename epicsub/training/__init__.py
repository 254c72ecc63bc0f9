"""From a recipe to a trained checkpoint: the only package that steps an optimiser."""
