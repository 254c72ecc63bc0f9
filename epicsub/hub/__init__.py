"""Trained models on the Hugging Face hub: their files, their card, and carrying them there and back."""
