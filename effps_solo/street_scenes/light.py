"""Lighting of a scene: sun, ambient light, haze, and the noise that textures are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Sequence

import cv2
import numpy as np

SENSOR_OFFSETS = 1 << 16
TILE = 512
"""Side of the periodic noise tiles, in cells."""


@dataclass(frozen=True)
class Light:
    """How surfaces are lit; colours are RGB in 0..255, factors multiply a surface colour."""

    sun: tuple[float, ...]  # unit vector towards the sun, world frame
    ambient: float
    diffuse: float  # 0 = overcast
    tint: tuple[float, ...]  # colour cast, about 1
    haze: tuple[float, ...]  # colour that distance fades to
    visibility: float  # depth in metres at which 63 % of a colour is haze
    zenith: tuple[float, ...]  # sky colour far above the horizon
    cloudiness: float  # 0..1
    shadow: float  # factor on ground colours in a cast shadow

    def shade(self, normal: Sequence[float] | np.ndarray) -> float:
        """Returns the brightness factor of a surface with this outward unit normal (world)."""
        cosine = float(sum(one * other for one, other in zip(normal, self.sun)))
        return self.ambient + self.diffuse * max(cosine, 0.0)

    def fade(self, depth: np.ndarray | float) -> np.ndarray:
        """Returns the share of haze (0..1) in a colour seen at a depth in metres."""
        return np.asarray(1.0 - np.exp(-np.asarray(depth) / self.visibility))


@lru_cache(maxsize=2)
def noise_tile(kind: str) -> np.ndarray:
    """Returns a periodic (TILE, TILE) float32 noise with mean 0 and deviation 1.

    "grain" has detail at every scale, "cloud" only the large ones. Fixed for good: scenes differ in
    where they read the tile.
    """
    seed, octaves, fall = (20240229, 8, 0.85) if kind == "grain" else (19970704, 5, 0.55)
    rng = np.random.default_rng(seed)
    total = np.zeros((TILE, TILE), np.float32)
    margin = 2
    for level in range(octaves):
        cells = 4 << level
        coarse = rng.standard_normal((cells, cells)).astype(np.float32)
        padded = np.pad(coarse, margin, mode="wrap")
        factor = TILE // cells
        fine = cv2.resize(padded, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        edge = margin * factor
        total += fall**level * fine[edge : edge + TILE, edge : edge + TILE]
    return (total - total.mean()) / total.std()


def read_noise(kind: str, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Looks the noise up at broadcastable positions, given in tile cells; wraps around."""
    x = np.floor(columns).astype(np.int32) & (TILE - 1)
    y = np.floor(rows).astype(np.int32) & (TILE - 1)
    return noise_tile(kind)[y, x]


@lru_cache(maxsize=1)
def _sensor_values(count: int) -> np.ndarray:
    return np.random.default_rng(20011).standard_normal(count, dtype=np.float32)


def sensor_noise(offset: int, shape: tuple[int, ...]) -> np.ndarray:
    """Returns normal noise of a shape, read at an offset (0..SENSOR_OFFSETS) from a fixed store."""
    count = int(np.prod(shape))
    return _sensor_values(count + SENSOR_OFFSETS)[offset : offset + count].reshape(shape)


def noise_window(kind: str, offset: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns (height, width) of the noise, cell by cell from an offset (row, column) on."""
    rows = (offset[0] + np.arange(height)) & (TILE - 1)
    columns = (offset[1] + np.arange(width)) & (TILE - 1)
    return noise_tile(kind).take(rows, axis=0).take(columns, axis=1)
