"""Models: uint8 clips in, verb and noun logits and pooled features out. They know no data, loss or optimiser."""
