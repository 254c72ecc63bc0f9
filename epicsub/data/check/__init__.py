"""What a data root holds, checked before a run."""
