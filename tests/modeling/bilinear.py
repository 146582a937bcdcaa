"""Bilinear interpolation, written out."""

import torch


def bilinear(mask: torch.Tensor, row: float, column: float) -> float:
    """An (h, w) map at a place between its points; beyond the rim as on it."""
    height, width = mask.shape
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    i, j = int(row), int(column)
    k, m = min(i + 1, height - 1), min(j + 1, width - 1)
    a, b = row - i, column - j
    upper = (1 - b) * float(mask[i, j]) + b * float(mask[i, m])
    lower = (1 - b) * float(mask[k, j]) + b * float(mask[k, m])
    return (1 - a) * upper + a * lower
