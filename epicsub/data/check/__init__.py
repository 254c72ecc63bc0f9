"""What a data root holds, checked and measured before a run."""
