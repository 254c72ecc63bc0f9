"""Studies of many runs, or of one run's inside: tables and pictures made of what training left."""
