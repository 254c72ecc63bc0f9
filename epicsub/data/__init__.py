"""Annotations and videos in, clips out. Knows no recipe and no model."""
