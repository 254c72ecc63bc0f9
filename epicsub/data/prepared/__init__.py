"""The prepared store: the parts of videos that segments need, small and fast to read."""
