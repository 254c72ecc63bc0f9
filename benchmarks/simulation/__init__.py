"""The feature simulation with planted outliers: generator, network, runs and statistics."""
