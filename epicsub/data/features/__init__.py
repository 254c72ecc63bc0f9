"""Features of segments in place of their videos."""
