"""Trucks and buses: boxes on wheels with windows, doors and lights."""

from __future__ import annotations

import numpy as np

from .easel import Color, Easel
from .people import any_color
from .vehicles import GLASS, Body, draw_box, draw_patch, draw_tyres, draw_wheel, visible_flank


def draw_bus(easel: Easel, rng: np.random.Generator, length: float) -> None:
    """Draws a city bus: a long box with a band of windows."""
    color = any_color(rng, 40, 235)
    body = Body(1.26, -length / 2, length / 2, 0.32, 3.1)
    draw_tyres(
        easel, body.half, (body.rear if easel.eye()[2] < body.rear else body.front) * 0.7, 0.5
    )
    flank, end = draw_box(easel, body, color)
    p = body.point
    stripe = any_color(rng)
    if flank:
        pane = easel.shade(GLASS, (flank, 0.3, 0.0))
        easel.face(
            [p(flank, 0.0, 0.06), p(flank, 1, 0.06), p(flank, 1, 0.18), p(flank, 0, 0.18)],
            easel.shade(stripe, (flank, 0, 0)),
        )
        count = int(length / 1.5)
        for k in range(count):
            start, stop = 0.02 + 0.96 * k / count, 0.02 + 0.96 * (k + 0.88) / count
            low = 0.06 if k % 4 == 3 else 0.42
            easel.face(
                [
                    p(flank, start, low),
                    p(flank, stop, low),
                    p(flank, stop, 0.86),
                    p(flank, start, 0.86),
                ],
                pane,
            )
        for share in (0.2, 0.78):
            draw_wheel(easel, flank * body.half, p(0, share, 0)[2], 0.48)
    if end:
        _bus_end(easel, body, end, rng)


def _bus_end(easel: Easel, body: Body, end: int, rng: np.random.Generator) -> None:
    t = -0.002 if end < 0 else 1.002
    p = body.point
    pane = easel.shade(GLASS, (0.0, 0.3, end))
    low = 0.5 if end < 0 else 0.34
    easel.face([p(-0.9, t, low), p(0.9, t, low), p(0.86, t, 0.84), p(-0.86, t, 0.84)], pane)
    easel.face([p(-0.7, t, 0.87), p(0.7, t, 0.87), p(0.7, t, 0.96), p(-0.7, t, 0.96)], (24, 24, 24))
    easel.face(
        [p(-0.5, t, 0.89), p(0.4, t, 0.89), p(0.4, t, 0.94), p(-0.5, t, 0.94)], (240, 170, 40)
    )
    easel.face([p(-1, t, 0.0), p(1, t, 0.0), p(1, t, 0.08), p(-1, t, 0.08)], (42, 42, 44))
    lamp = (205, 32, 28) if end < 0 else (240, 238, 220)
    for side in (-1, 1):
        quad = [
            p(side * 0.75, t, 0.14),
            p(side * 0.95, t, 0.14),
            p(side * 0.95, t, 0.22),
            p(side * 0.75, t, 0.22),
        ]
        easel.face(quad, lamp)


def draw_truck(easel: Easel, rng: np.random.Generator, length: float) -> None:
    """Draws a lorry: a cab in front of a windowless box, a tank or an open bed."""
    cab_color, box_color = any_color(rng, 30, 235), any_color(rng, 60, 235)
    half, cab_length = 1.22, 1.9
    top = rng.uniform(2.9, 3.5)
    front = length / 2
    cargo = Body(half, -front, front - cab_length - 0.3, 0.95, top)
    cab = Body(half * 0.95, front - cab_length, front, 0.4, rng.uniform(2.4, 2.8))
    chassis = Body(half * 0.8, -front + 0.2, front - 0.1, 0.5, 0.95)
    eye = easel.eye()
    draw_tyres(easel, half, (-front if eye[2] < -front else front) * 0.75, 0.85)
    draw_box(easel, chassis, (40, 40, 42))
    if eye[2] > front:
        _cargo(easel, cargo, box_color)
        _cab(easel, cab, cab_color)
    else:
        _cab(easel, cab, cab_color)
        _cargo(easel, cargo, box_color)
    flank = visible_flank(easel, half)
    if flank:
        for c in (-front + 0.9, -front + 2.0, front - 1.0):
            draw_wheel(easel, flank * half * 0.97, c, 0.48)


def _cargo(easel: Easel, body: Body, color: Color) -> None:
    flank, end = draw_box(easel, body, color)
    p = body.point
    if flank:
        seam = easel.shade(np.asarray(color) * 0.78, (flank, 0, 0))
        for k in range(1, 8):
            s = k / 8
            easel.face(
                [
                    p(flank, s, 0.02),
                    p(flank, s + 0.012, 0.02),
                    p(flank, s + 0.012, 0.98),
                    p(flank, s, 0.98),
                ],
                seam,
            )
    if end < 0:
        seam = easel.shade(np.asarray(color) * 0.6, (0, 0, -1))
        for a in (-0.93, -0.02, 0.89):
            easel.face(
                [p(a, 0, 0.03), p(a + 0.04, 0, 0.03), p(a + 0.04, 0, 0.97), p(a, 0, 0.97)], seam
            )
        for side in (-1, 1):
            b = -0.12
            quad = [
                p(side * 0.7, 0, b),
                p(side * 0.95, 0, b),
                p(side * 0.95, 0, b + 0.06),
                p(side * 0.7, 0, b + 0.06),
            ]
            easel.face(quad, (205, 32, 28))
        draw_patch(easel, (-body.half, body.half, 0.55, 0.7), body.rear, (200, 190, 60))


def _cab(easel: Easel, body: Body, color: Color) -> None:
    flank, end = draw_box(easel, body, color)
    p = body.point
    if flank:
        pane = easel.shade(GLASS, (flank, 0.3, 0.0))
        easel.face(
            [p(flank, 0.35, 0.55), p(flank, 0.9, 0.55), p(flank, 0.86, 0.9), p(flank, 0.35, 0.9)],
            pane,
        )
    if end > 0:
        pane = easel.shade(GLASS, (0.0, 0.3, 1.0))
        easel.face([p(-0.92, 1, 0.52), p(0.92, 1, 0.52), p(0.86, 1, 0.92), p(-0.86, 1, 0.92)], pane)
        easel.face(
            [p(-0.6, 1, 0.16), p(0.6, 1, 0.16), p(0.6, 1, 0.42), p(-0.6, 1, 0.42)], (36, 36, 38)
        )
        easel.face([p(-1, 1, 0.0), p(1, 1, 0.0), p(1, 1, 0.1), p(-1, 1, 0.1)], (50, 50, 52))
        for side in (-1, 1):
            quad = [
                p(side * 0.68, 1, 0.12),
                p(side * 0.95, 1, 0.12),
                p(side * 0.95, 1, 0.24),
                p(side * 0.68, 1, 0.24),
            ]
            easel.face(quad, (240, 238, 220))
