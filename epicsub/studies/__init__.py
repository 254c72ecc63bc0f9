"""Studies of many runs, or of one run's inside: tables and pictures of what training wrote."""
