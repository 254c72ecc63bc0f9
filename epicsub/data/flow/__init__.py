"""Optical flow of videos: its computation and its files."""
