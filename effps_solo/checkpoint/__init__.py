"""Weights: reading files that others made, saving and resuming, ImageNet initialisation."""
