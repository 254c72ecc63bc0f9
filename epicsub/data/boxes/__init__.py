"""Hands and objects of every frame: the official boxes and others, one memory-mapped file a video, slots of a clip."""
