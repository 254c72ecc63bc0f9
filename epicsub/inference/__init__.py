"""Model, loader and test-time views in, predictions out."""
