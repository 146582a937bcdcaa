"""Checkpoints: safe loading, saving and resuming, ImageNet weights, conversion of published ones."""
