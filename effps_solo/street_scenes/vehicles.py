"""Cars: a side profile extruded across, with windows, wheels and lights; and boxes on wheels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

import numpy as np

from .easel import Color, Easel, Ends, Point, across, lengthwise, wheel
from .people import any_color

GLASS = np.array((52.0, 62.0, 72.0))
LAMPS = {-1: (205, 32, 28), 1: (240, 238, 220)}  # of the rear and of the front
PLATE = (225, 225, 218)

Profile = tuple[tuple[float, ...], tuple[float, ...], tuple[int, int], tuple[float, float, float]]
CARS: dict[str, Profile] = {
    "sedan": (
        (-0.5, -0.5, -0.34, -0.21, 0.08, 0.24, 0.48, 0.5),
        (0.2, 0.6, 0.67, 1.0, 1.0, 0.66, 0.55, 0.2),
        (2, 4),
        (4.6, 1.8, 1.45),
    ),
    "hatchback": (
        (-0.5, -0.49, -0.41, 0.05, 0.24, 0.48, 0.5),
        (0.2, 0.64, 0.98, 1.0, 0.66, 0.54, 0.2),
        (1, 3),
        (4.0, 1.75, 1.48),
    ),
    "suv": (
        (-0.5, -0.5, -0.46, 0.08, 0.22, 0.48, 0.5),
        (0.24, 0.62, 0.97, 1.0, 0.68, 0.6, 0.24),
        (1, 3),
        (4.5, 1.9, 1.7),
    ),
    "van": (
        (-0.5, -0.5, -0.48, 0.24, 0.37, 0.49, 0.5),
        (0.16, 0.6, 1.0, 1.0, 0.6, 0.48, 0.16),
        (1, 3),
        (5.0, 1.95, 2.0),
    ),
}
"""c / length and b / height from the rear bumper over the roof to the front bumper, the edges of this
profile that are windows, and length, width and height in metres."""


@dataclass(frozen=True)
class Body:
    """A box in the object frame (m): half width, rear and front end, bottom and top."""

    half: float
    rear: float
    front: float
    bottom: float
    top: float

    def metres(self, points: Iterable[Point]) -> list[tuple[float, float, float]]:
        """Maps shares (-1..1, 0..1, 0..1) of the box to the object frame."""
        tall, long = self.top - self.bottom, self.front - self.rear
        return [(a * self.half, self.bottom + b * tall, self.rear + c * long) for a, b, c in points]


def draw_wheel(easel: Easel, a: float, c: float, radius: float) -> None:
    """Draws a wheel on the flank at a (m), seen from outside."""
    easel.face(wheel(18, a, c, radius * 1.14, radius), (20, 20, 22))
    easel.face(wheel(18, a * 1.005, c, radius, radius), (34, 34, 36))
    easel.face(wheel(18, a * 1.01, c, radius * 0.58, radius), (150, 150, 154))
    easel.face(wheel(18, a * 1.01, c, radius * 0.2, radius), (70, 70, 74))


def draw_tyres(easel: Easel, half: float, c: float, radius: float) -> None:
    """Draws the two tyres that show below one end of a vehicle, at c (m)."""
    for side in (-1, 1):
        inner, outer = side * (half - 0.26), side * (half - 0.03)
        easel.face(across((inner, outer), (0, radius), c), (24, 24, 24))


def visible_flank(easel: Easel, half: float) -> int:
    """Returns which flank the camera sees: 1 right, -1 left, 0 none."""
    a = easel.eye()[0]
    return 1 if a > half else -1 if a < -half else 0


def draw_car(easel: Easel, rng: np.random.Generator, style: str) -> None:
    """Draws a car of a style of CARS."""
    along, up, windows, (length, width, height) = CARS[style]
    points = np.stack([along, up], axis=1) * (length, height)
    car = _Car(easel, points, windows, any_color(rng, 22, 235), length, width / 2, height)
    c = easel.eye()[2]
    rear, front = points[0, 0], points[-1, 0]
    for end in (rear, front):
        if (c < end) == (end < 0):
            draw_tyres(easel, car.half, end * 0.68, 0.4 * height)
    car.draw_shell()
    car.draw_flank(visible_flank(easel, car.half))
    if c < rear or c > front:
        car.draw_end((rear if c < rear else front) * 1.005)


@dataclass
class _Car:
    easel: Easel
    points: np.ndarray  # (N,2) c and b of the profile
    windows: tuple[int, int]
    color: np.ndarray
    length: float
    half: float
    height: float

    def at(self, index: int, side: float, inset: float = 1.0) -> tuple[float, float, float]:
        """Maps a corner of the profile, a side (-1, 1) and an inset to the object frame."""
        c, b = self.points[index]
        narrow = 0.88 if b > 0.62 * self.height * 1.25 else 1.0
        return side * self.half * narrow * inset, b, c

    def draw_shell(self) -> None:
        easel, points, at = self.easel, self.points, self.at
        _, b, c = easel.eye()
        eye = np.array((c, b))
        edges = list(range(len(points) - 1))
        edges.sort(key=lambda i: -np.hypot(*(points[i : i + 2].mean(axis=0) - eye)))
        for i in edges:
            along = points[i + 1] - points[i]
            normal = np.array((-along[1], along[0])) / np.hypot(*along)  # (c, b)
            if np.dot(eye - points[i], normal) <= 0:
                continue
            quad = [at(i, -1), at(i, 1), at(i + 1, 1), at(i + 1, -1)]
            easel.face(quad, easel.shade(self.color, (0.0, normal[1], normal[0])))
            if i in self.windows:
                pane = np.array(
                    [at(i, -1, 0.88), at(i, 1, 0.88), at(i + 1, 1, 0.9), at(i + 1, -1, 0.9)]
                )
                middle = pane.mean(axis=0)
                pane = middle + (pane - middle) * (1.0, 0.84, 0.84)
                easel.face(pane, easel.shade(GLASS * 1.1, (0.0, 0.8, normal[0] * 0.6)))

    def draw_flank(self, flank: int) -> None:
        if not flank:
            return
        easel, height, a = self.easel, self.height, flank * self.half

        def shade(color: np.ndarray, b: float = 0.0) -> Color:
            return easel.shade(color, (flank, b, 0.0))

        easel.face([self.at(i, flank) for i in range(len(self.points))], shade(self.color))
        sill = (-0.45 * self.length, 0.45 * self.length), (0.2 * height, 0.27 * height)
        easel.face(lengthwise(a, *sill), shade(self.color * 0.55))
        first, last = self.windows
        rear, rear_top, front_top, front = self.points[[first, first + 1, last, last + 1], 0]
        back, ahead = rear * 0.6 + rear_top * 0.4, front * 0.75 + front_top * 0.25
        post = (rear_top + front_top) / 2
        (a_low, low), (a_high, high) = (a * 0.97, 0.66 * height), (a * 0.9, 0.93 * height)
        for start, top_start, end, top_end in (
            (back, rear_top + 0.05, post - 0.05, post - 0.05),
            (post + 0.05, post + 0.05, ahead, front_top - 0.02),
        ):
            edge = [(a_low, low, start), (a_high, high, top_start)]
            easel.face([*edge, (a_high, high, top_end), (a_low, low, end)], shade(GLASS, 0.35))
        seam = (post - 0.02, post + 0.02), (0.27 * height, 0.66 * height)
        easel.face(lengthwise(a, *seam), shade(self.color * 0.6))
        for share in (-0.31, 0.32):
            draw_wheel(easel, a, share * self.length, 0.22 * height if height < 1.6 else 0.34)

    def draw_end(self, c: float) -> None:
        easel, half, rear = self.easel, self.half, c < 0

        def panel(a: Ends, low: float, high: float, out: float, color: Color) -> None:
            easel.face(across(a, (low * self.height, high * self.height), c * out), color)

        panel((-half, half), 0.2, 0.32, 1.0, easel.shade((48, 48, 50), (0.0, 0.0, np.sign(c))))
        for side in (-1, 1):
            lamp = (0.46, 0.58, 1.002, LAMPS[-1]) if rear else (0.42, 0.52, 1.002, LAMPS[1])
            panel((side * half * 0.62, side * half * 0.97), *lamp)
        if rear:
            panel((-0.26, 0.26), 0.36, 0.43, 1.002, PLATE)
        else:
            panel((-half * 0.5, half * 0.5), 0.34, 0.48, 1.002, (30, 30, 32))
            panel((-0.26, 0.26), 0.24, 0.31, 1.004, PLATE)


def draw_box(easel: Easel, body: Body, color: Color) -> tuple[int, int]:
    """Draws the visible faces of a box; returns which flank (-1, 0, 1) and end (-1, 0, 1) show."""
    eye = easel.eye()
    flank = visible_flank(easel, body.half)
    end = -1 if eye[2] < body.rear else 1 if eye[2] > body.front else 0
    if eye[1] > body.top:
        roof = body.metres([(-1, 1, 0), (1, 1, 0), (1, 1, 1), (-1, 1, 1)])
        easel.face(roof, easel.shade(color, (0, 1, 0)))
    if flank:
        side = body.metres(lengthwise(flank, (0, 1), (0, 1)))
        easel.face(side, easel.shade(color, (flank, 0, 0)))
    if end:
        face = body.metres(across((-1, 1), (0, 1), max(end, 0)))
        easel.face(face, easel.shade(color, (0, 0, end)))
    return flank, end
