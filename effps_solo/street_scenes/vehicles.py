"""Cars: a side profile extruded across, with windows, wheels and lights; and boxes on wheels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np

from .easel import Color, Easel
from .people import any_color

WHEEL = np.linspace(0.0, 2.0 * np.pi, 18, endpoint=False)
GLASS = np.array((52.0, 62.0, 72.0))

# (c / length, b / height) from the rear bumper over the roof to the front bumper, and the edges of
# it that are windows.
CAR_PROFILES = {
    "sedan": (
        [
            (-0.5, 0.2),
            (-0.5, 0.6),
            (-0.34, 0.67),
            (-0.21, 1.0),
            (0.08, 1.0),
            (0.24, 0.66),
            (0.48, 0.55),
            (0.5, 0.2),
        ],
        (2, 4),
    ),
    "hatchback": (
        [
            (-0.5, 0.2),
            (-0.49, 0.64),
            (-0.41, 0.98),
            (0.05, 1.0),
            (0.24, 0.66),
            (0.48, 0.54),
            (0.5, 0.2),
        ],
        (1, 3),
    ),
    "suv": (
        [
            (-0.5, 0.24),
            (-0.5, 0.62),
            (-0.46, 0.97),
            (0.08, 1.0),
            (0.22, 0.68),
            (0.48, 0.6),
            (0.5, 0.24),
        ],
        (1, 3),
    ),
    "van": (
        [
            (-0.5, 0.16),
            (-0.5, 0.6),
            (-0.48, 1.0),
            (0.24, 1.0),
            (0.37, 0.6),
            (0.49, 0.48),
            (0.5, 0.16),
        ],
        (1, 3),
    ),
}
CAR_SIZES = {
    "sedan": (4.6, 1.8, 1.45),
    "hatchback": (4.0, 1.75, 1.48),
    "suv": (4.5, 1.9, 1.7),
    "van": (5.0, 1.95, 2.0),
}

Corner = Callable[..., tuple[float, float, float]]
"""Maps a corner of the profile, a side (-1, 1) and an inset to the object frame."""


@dataclass(frozen=True)
class Body:
    """A box in the object frame (m): half width, rear and front end, bottom and top."""

    half: float
    rear: float
    front: float
    bottom: float
    top: float

    def point(self, across: float, along: float, up: float) -> tuple[float, float, float]:
        """Maps shares (-1..1, 0..1, 0..1) of the box to metres."""
        c = self.rear + along * (self.front - self.rear)
        return across * self.half, self.bottom + up * (self.top - self.bottom), c


def _disc(a: float, c: float, radius: float, middle: float) -> np.ndarray:
    rows = [(a, middle + radius * np.sin(t), c + radius * np.cos(t)) for t in WHEEL]
    return np.array(rows)


def draw_wheel(easel: Easel, a: float, c: float, radius: float) -> None:
    """Draws a wheel on the flank at a (m), seen from outside."""
    easel.face(_disc(a, c, radius * 1.14, radius), (20, 20, 22))
    easel.face(_disc(a * 1.005, c, radius, radius), (34, 34, 36))
    easel.face(_disc(a * 1.01, c, radius * 0.58, radius), (150, 150, 154))
    easel.face(_disc(a * 1.01, c, radius * 0.2, radius), (70, 70, 74))


def draw_tyres(easel: Easel, half: float, c: float, radius: float) -> None:
    """Draws the two tyres that show below one end of a vehicle, at c (m)."""
    for side in (-1, 1):
        inner, outer = side * (half - 0.26), side * (half - 0.03)
        easel.face(
            [(inner, 0, c), (outer, 0, c), (outer, radius, c), (inner, radius, c)], (24,) * 3
        )


def visible_flank(easel: Easel, half: float) -> int:
    """Returns which flank the camera sees: 1 right, -1 left, 0 none."""
    a = easel.eye()[0]
    return 1 if a > half else -1 if a < -half else 0


def draw_car(easel: Easel, rng: np.random.Generator, style: str) -> None:
    """Draws a car of a style of CAR_PROFILES."""
    profile, glass = CAR_PROFILES[style]
    length, width, height = CAR_SIZES[style]
    points = np.array(profile) * (length, height)
    color = any_color(rng, 22, 235)
    half = width / 2
    belt = 0.62 * height
    taper = 0.88

    def at(index: int, side: float, inset: float = 1.0) -> tuple[float, float, float]:
        c, b = points[index]
        narrow = taper if b > belt * 1.25 else 1.0
        return side * half * narrow * inset, b, c

    eye = easel.eye()
    ends = [end for end in (points[0, 0], points[-1, 0]) if (eye[2] < end) == (end < 0)]
    for end in ends:
        draw_tyres(easel, half, end * 0.68, 0.4 * height)
    _car_shell(easel, points, glass, color, at, eye)
    flank = visible_flank(easel, half)
    if flank:
        _car_flank(easel, points, glass, color, at, flank, (length, half, height))
    if eye[2] < points[0, 0]:
        _car_end(easel, half, height, points[0, 0] * 1.005, rear=True)
    elif eye[2] > points[-1, 0]:
        _car_end(easel, half, height, points[-1, 0] * 1.005, rear=False)


def _car_shell(
    easel: Easel,
    points: np.ndarray,
    glass: tuple[int, int],
    color: Color,
    at: Corner,
    eye: tuple[float, ...],
) -> None:
    edges = list(range(len(points) - 1))
    edges.sort(key=lambda i: -np.hypot(*(points[i : i + 2].mean(axis=0) - (eye[2], eye[1]))))
    for i in edges:
        along = points[i + 1] - points[i]
        normal = np.array((-along[1], along[0])) / np.hypot(*along)  # (c, b)
        if np.dot((eye[2], eye[1]) - points[i], normal) <= 0:
            continue
        quad = [at(i, -1), at(i, 1), at(i + 1, 1), at(i + 1, -1)]
        easel.face(quad, easel.shade(color, (0.0, normal[1], normal[0])))
        if i in glass:
            pane = np.array(
                [at(i, -1, 0.88), at(i, 1, 0.88), at(i + 1, 1, 0.9), at(i + 1, -1, 0.9)]
            )
            middle = pane.mean(axis=0)
            pane = middle + (pane - middle) * (1.0, 0.84, 0.84)
            easel.face(pane, easel.shade(GLASS * 1.1, (0.0, 0.8, normal[0] * 0.6)))


def _car_flank(
    easel: Easel,
    points: np.ndarray,
    glass: tuple[int, int],
    color: Color,
    at: Corner,
    flank: int,
    size: tuple[float, ...],
) -> None:
    length, half, height = size
    outline = [at(i, flank) for i in range(len(points))]
    easel.face(outline, easel.shade(color, (flank, 0.0, 0.0)))
    sill = [
        (flank * half, 0.2 * height, -0.45 * length),
        (flank * half, 0.2 * height, 0.45 * length),
    ]
    upper = [(a, 0.27 * height, c) for a, _, c in reversed(sill)]
    easel.face([*sill, *upper], easel.shade(np.asarray(color) * 0.55, (flank, 0.0, 0.0)))
    rear, front = points[glass[0]], points[glass[1] + 1]
    rear_top, front_top = points[glass[0] + 1], points[glass[1]]
    pane = easel.shade(GLASS, (flank, 0.35, 0.0))
    low, high = 0.66 * height, 0.93 * height
    back, ahead = rear[0] * 0.6 + rear_top[0] * 0.4, front[0] * 0.75 + front_top[0] * 0.25
    post = (rear_top[0] + front_top[0]) / 2
    for start, top_start, end, top_end in (
        (back, rear_top[0] + 0.05, post - 0.05, post - 0.05),
        (post + 0.05, post + 0.05, ahead, front_top[0] - 0.02),
    ):
        a_low, a_high = flank * half * 0.97, flank * half * 0.9
        window = [
            (a_low, low, start),
            (a_high, high, top_start),
            (a_high, high, top_end),
            (a_low, low, end),
        ]
        easel.face(window, pane)
    line = easel.shade(np.asarray(color) * 0.6, (flank, 0.0, 0.0))
    easel.face(
        [
            (flank * half, 0.27 * height, post - 0.02),
            (flank * half, 0.27 * height, post + 0.02),
            (flank * half, 0.66 * height, post + 0.02),
            (flank * half, 0.66 * height, post - 0.02),
        ],
        line,
    )
    for c in (-0.31 * length, 0.32 * length):
        draw_wheel(easel, flank * half, c, 0.22 * height if height < 1.6 else 0.34)


def draw_patch(
    easel: Easel, box: tuple[float, float, float, float], c: float, color: Color
) -> None:
    """Draws an upright rectangle (a0, a1, b0, b1) in metres across the vehicle at c (m)."""
    a0, a1, b0, b1 = box
    easel.face([(a0, b0, c), (a1, b0, c), (a1, b1, c), (a0, b1, c)], color)


def _car_end(easel: Easel, half: float, height: float, c: float, *, rear: bool) -> None:
    dark = easel.shade((48, 48, 50), (0.0, 0.0, np.sign(c)))
    draw_patch(easel, (-half, half, 0.2 * height, 0.32 * height), c, dark)
    lamp = (205, 32, 28) if rear else (240, 238, 220)
    low, high = (0.46, 0.58) if rear else (0.42, 0.52)
    for side in (-1, 1):
        near, far = side * half * 0.62, side * half * 0.97
        draw_patch(easel, (near, far, low * height, high * height), c * 1.002, lamp)
    if rear:
        draw_patch(easel, (-0.26, 0.26, 0.36 * height, 0.43 * height), c * 1.002, (225, 225, 218))
    else:
        draw_patch(
            easel, (-half * 0.5, half * 0.5, 0.34 * height, 0.48 * height), c * 1.002, (30, 30, 32)
        )
        draw_patch(easel, (-0.26, 0.26, 0.24 * height, 0.31 * height), c * 1.004, (225, 225, 218))


def draw_box(easel: Easel, body: Body, color: Color) -> tuple[int, int]:
    """Draws the visible faces of a box; returns which flank (-1, 0, 1) and end (-1, 0, 1) show."""
    eye = easel.eye()
    flank = visible_flank(easel, body.half)
    end = -1 if eye[2] < body.rear else 1 if eye[2] > body.front else 0
    p = body.point
    if eye[1] > body.top:
        easel.face(
            [p(-1, 0, 1), p(1, 0, 1), p(1, 1, 1), p(-1, 1, 1)], easel.shade(color, (0, 1, 0))
        )
    if flank:
        quad = [p(flank, 0, 0), p(flank, 1, 0), p(flank, 1, 1), p(flank, 0, 1)]
        easel.face(quad, easel.shade(color, (flank, 0, 0)))
    if end:
        t = 0 if end < 0 else 1
        easel.face(
            [p(-1, t, 0), p(1, t, 0), p(1, t, 1), p(-1, t, 1)], easel.shade(color, (0, 0, end))
        )
    return flank, end
