"""Trucks and buses: boxes on wheels with windows, doors and lights."""

from __future__ import annotations

import numpy as np

from .easel import Color, Easel, Ends, across, lengthwise
from .people import any_color
from .vehicles import GLASS, LAMPS, Body, draw_box, draw_tyres, draw_wheel, visible_flank


def draw_bus(easel: Easel, rng: np.random.Generator, length: float) -> None:
    """Draws a city bus: a long box with a band of windows."""
    color = any_color(rng, 40, 235)
    body = Body(1.26, -length / 2, length / 2, 0.32, 3.1)
    seen = body.rear if easel.eye()[2] < body.rear else body.front
    draw_tyres(easel, body.half, seen * 0.7, 0.5)
    flank, end = draw_box(easel, body, color)
    stripe = any_color(rng)
    if flank:
        band = body.metres(lengthwise(flank, (0.0, 1), (0.06, 0.18)))
        easel.face(band, easel.shade(stripe, (flank, 0, 0)))
        pane = easel.shade(GLASS, (flank, 0.3, 0.0))
        count = int(length / 1.5)
        for k in range(count):
            ends = 0.02 + 0.96 * k / count, 0.02 + 0.96 * (k + 0.88) / count
            low = 0.06 if k % 4 == 3 else 0.42
            easel.face(body.metres(lengthwise(flank, ends, (low, 0.86))), pane)
        for _, _, c in body.metres([(flank, 0, 0.2), (flank, 0, 0.78)]):
            draw_wheel(easel, flank * body.half, c, 0.48)
    if end:
        _bus_end(easel, body, end)


def _bus_end(easel: Easel, body: Body, end: int) -> None:
    rear = end < 0

    def panel(a: Ends, b: Ends, color: Color, top: Ends | None = None) -> None:
        easel.face(body.metres(across(a, b, -0.002 if rear else 1.002, top)), color)

    pane = easel.shade(GLASS, (0.0, 0.3, end))
    panel((-0.9, 0.9), (0.5 if rear else 0.34, 0.84), pane, (-0.86, 0.86))
    panel((-0.7, 0.7), (0.87, 0.96), (24, 24, 24))
    panel((-0.5, 0.4), (0.89, 0.94), (240, 170, 40))
    panel((-1, 1), (0.0, 0.08), (42, 42, 44))
    for side in (-1, 1):
        panel((side * 0.75, side * 0.95), (0.14, 0.22), LAMPS[end])


def draw_truck(easel: Easel, rng: np.random.Generator, length: float) -> None:
    """Draws a lorry: a cab in front of a windowless box, a tank or an open bed."""
    cab_color, box_color = any_color(rng, 30, 235), any_color(rng, 60, 235)
    half, cab_length = 1.22, 1.9
    top = rng.uniform(2.9, 3.5)
    front = length / 2
    cargo = Body(half, -front, front - cab_length - 0.3, 0.95, top)
    cab = Body(half * 0.95, front - cab_length, front, 0.4, rng.uniform(2.4, 2.8))
    chassis = Body(half * 0.8, -front + 0.2, front - 0.1, 0.5, 0.95)
    c = easel.eye()[2]
    draw_tyres(easel, half, (-front if c < -front else front) * 0.75, 0.85)
    draw_box(easel, chassis, (40, 40, 42))
    parts = [(_cab, cab, cab_color), (_cargo, cargo, box_color)]  # the nearer one comes last
    for draw, body, color in reversed(parts) if c > front else parts:
        draw(easel, body, color)
    flank = visible_flank(easel, half)
    if flank:
        for c in (-front + 0.9, -front + 2.0, front - 1.0):
            draw_wheel(easel, flank * half * 0.97, c, 0.48)


def _cargo(easel: Easel, body: Body, color: np.ndarray) -> None:
    flank, end = draw_box(easel, body, color)
    if flank:
        seam = easel.shade(color * 0.78, (flank, 0, 0))
        for k in range(1, 8):
            ends = k / 8, k / 8 + 0.012
            easel.face(body.metres(lengthwise(flank, ends, (0.02, 0.98))), seam)
    if end < 0:
        seam = easel.shade(color * 0.6, (0, 0, -1))
        for a in (-0.93, -0.02, 0.89):
            easel.face(body.metres(across((a, a + 0.04), (0.03, 0.97))), seam)
        for side in (-1, 1):
            lamp = across((side * 0.7, side * 0.95), (-0.12, -0.12 + 0.06))
            easel.face(body.metres(lamp), LAMPS[-1])
        easel.face(across((-body.half, body.half), (0.55, 0.7), body.rear), (200, 190, 60))


def _cab(easel: Easel, body: Body, color: np.ndarray) -> None:
    flank, end = draw_box(easel, body, color)
    if flank:
        window = lengthwise(flank, (0.35, 0.9), (0.55, 0.9), top=(0.35, 0.86))
        easel.face(body.metres(window), easel.shade(GLASS, (flank, 0.3, 0.0)))
    if end > 0:
        window = across((-0.92, 0.92), (0.52, 0.92), 1, top=(-0.86, 0.86))
        easel.face(body.metres(window), easel.shade(GLASS, (0.0, 0.3, 1.0)))
        easel.face(body.metres(across((-0.6, 0.6), (0.16, 0.42), 1)), (36, 36, 38))
        easel.face(body.metres(across((-1, 1), (0.0, 0.1), 1)), (50, 50, 52))
        for side in (-1, 1):
            lamp = across((side * 0.68, side * 0.95), (0.12, 0.24), 1)
            easel.face(body.metres(lamp), LAMPS[1])
