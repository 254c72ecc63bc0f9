"""Decoders of video files, and what opens a file with one of them."""
