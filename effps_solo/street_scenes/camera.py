"""Ground-plane perspective: where a point of the street falls in the picture.

World frame, in metres: x to the right, y up, z forward, origin on the ground below the camera. The
camera looks along z; its pitch is expressed by the horizon row, so verticals stay vertical.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAREST_DEPTH = 0.8
"""Points nearer than this (m) are projected as if they were this far away."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above flat ground; pixel coordinates are continuous, 0 = first centre."""

    width: int
    height: int
    focal: float  # px
    eye: float  # height above the ground, m
    horizon: float  # row of the vanishing line, px
    center: float  # column of the optical axis, px

    def project(self, points: np.ndarray) -> np.ndarray:
        """Maps world points (N,3) in metres to pixel positions (N,2) = (column, row)."""
        scale = self.focal / np.maximum(points[:, 2], NEAREST_DEPTH)
        columns = self.center + points[:, 0] * scale
        return np.stack([columns, self.horizon + (self.eye - points[:, 1]) * scale], axis=1)

    def column(self, x: float, z: float) -> float:
        """Returns the column (px) of what stands at world x and depth z in metres."""
        return self.center + x * self.pixels_per_metre(z)

    def pixels_per_metre(self, depth: float) -> float:
        """Returns the magnification at a depth in metres."""
        return self.focal / max(depth, NEAREST_DEPTH)

    @property
    def nearest_ground(self) -> float:
        """Depth (m) of the ground seen in the last row."""
        return self.focal * self.eye / max(self.height - 1 - self.horizon, 1.0)

    def ground_points(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (x, z) in metres of the ground that pixels below the horizon show."""
        depth = self.focal * self.eye / np.maximum(rows - self.horizon, 0.25)
        return (columns - self.center) * depth / self.focal, depth
