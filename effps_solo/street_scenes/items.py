"""Items of a scene and how they are put on the ground without meeting each other.

Places are road coordinates in metres: u to the right of the middle of the road, z = depth from the
camera. A footprint is an upright box on the ground, `width` along u and `length` along z.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .camera import Camera
from .ground import Street

NEAR_PREFERENCE = 2.0
"""1 = depths even on a logarithmic scale; more = near objects are more frequent."""
BIG_OVERLAP = 0.35
"""Share of the farther object's columns from which on an overlap counts as crowded."""
OVERLAP_CHANCE = 0.06
"""How often a thing is placed in spite of that."""


@dataclass(frozen=True)
class Item:
    """One thing, group or piece of the street."""

    kind: str  # which painter draws it
    u: float
    z: float
    width: float
    length: float
    height: float
    seed: int  # of everything random in its look
    heading: float = 0.0  # relative to the road, rad; 0 = seen from behind
    style: str = ""
    reach: float = 0.0  # length of a vehicle along its own axis
    pair: int = -1  # same number: rider and two-wheeler, kept or dropped together
    members: tuple["Item", ...] = ()  # of a group

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Returns (u0, u1, z0, z1) of the footprint."""
        half, long = self.width / 2, self.length / 2
        return self.u - half, self.u + half, self.z - long, self.z + long


@dataclass
class Sampler:
    """Places items along a street, none into another.

    Attributes:
        items: those placed so far.
        boxes: their footprints u0, u1 across and z0, z1 along the street, in metres.
        spans: distance, left and right column of those that were to be in sight.
    """

    rng: np.random.Generator
    camera: Camera
    street: Street
    items: list[Item] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    spans: list[tuple[float, float, float]] = field(default_factory=list)

    def seed(self) -> int:
        """Samples the seed of an item."""
        return int(self.rng.integers(2**31))

    def put(self, item: Item, gap: float = 0.15) -> bool:
        """Adds the item if its footprint keeps `gap` metres from all others; returns whether it does."""
        u0, u1, z0, z1 = item.box
        if any(
            u0 - gap < b1 and b0 < u1 + gap and z0 - gap < d1 and d0 < z1 + gap
            for b0, b1, d0, d1 in self.boxes
        ):
            return False
        self.items.append(item)
        self.boxes.append(item.box)
        return True

    def depth(self, low: float, high: float, preference: float = NEAR_PREFERENCE) -> float:
        """Samples a depth, the near ones more often the higher the preference is."""
        return low * (high / low) ** (self.rng.random() ** preference)

    def put_in_sight(self, item: Item, gap: float = 0.15) -> bool:
        """Adds a thing like `put`, at times only where it neither hides nor is hidden much."""
        near = item.box[2]
        shift = self.street.shift(near)
        left, right = (self.camera.column(edge + shift, near) for edge in item.box[:2])
        crowded = any(
            min(right, right2) - max(left, left2)
            > BIG_OVERLAP * ((right2 - left2) if near < near2 else (right - left))
            for near2, left2, right2 in self.spans
        )
        if crowded and self.rng.random() > OVERLAP_CHANCE:
            return False
        if not self.in_view(item.u, item.z, -4) or not self.put(item, gap):
            return False
        self.spans.append((near, float(left), float(right)))
        return True

    def in_view(self, u: float, z: float, margin: float = 0.0) -> bool:
        """Returns whether a place lies between the sides of the image, `margin` pixels added."""
        column = self.camera.column(u + self.street.shift(z), z)
        return -margin < column < self.camera.width + margin
