"""Things that stand along a street: trees, bushes, poles, traffic lights and signs, clutter."""

from __future__ import annotations

import numpy as np

from .easel import CORNERS, DISC, Easel, Point, across, circle
from .people import any_color

FOLIAGE = np.array(
    [(62, 92, 40), (84, 108, 48), (50, 78, 48), (118, 116, 52), (140, 100, 46), (96, 88, 62)]
)
LARGE_CLUMP = 40.0
"""Radius (px) from which on a clump of leaves is drawn in full detail."""
LAMPS = ((220, 40, 34), (235, 170, 40), (50, 190, 90))
SIGN_COLORS = ((196, 36, 40), (36, 74, 168), (236, 196, 44), (235, 235, 235), (34, 112, 66))


def _foliage(rng: np.random.Generator) -> np.ndarray:
    weights = (0.26, 0.24, 0.2, 0.12, 0.09, 0.09)
    return FOLIAGE[rng.choice(len(FOLIAGE), p=weights)] * rng.uniform(0.75, 1.25)


def _blobs(
    easel: Easel,
    rng: np.random.Generator,
    middle: Point,
    size: tuple[float, float, float],
    count: int,
    color: np.ndarray,
) -> None:
    """Draws a clump of leaves: dark blobs outside and below, lit ones towards the sun.

    `count` blobs where the clump is large in the picture, fewer where nobody could tell.
    """
    sun = easel.view.light.sun
    pixels = size[0] * easel.view.camera.pixels_per_metre(easel.z)
    count = int(np.clip(count * pixels / LARGE_CLUMP, min(count, 5), count))
    lit = color * easel.view.light.shade((0.0, 0.8, -0.6))
    spots = rng.normal(0.0, 0.5, (count, 3)).clip(-1, 1)
    spots = spots[np.argsort(spots @ np.array((sun[0], 1.0, -0.3)))]
    for rank, spot in enumerate(spots):
        light = 0.6 + 0.55 * rank / max(count - 1, 1)
        place = np.asarray(middle) + spot * size
        radius = size[0] * rng.uniform(0.28, 0.52)
        tone = lit * light * rng.uniform(0.92, 1.08)
        ragged = DISC * (1.0 + 0.16 * rng.uniform(-1.0, 1.0, (CORNERS, 1)))
        easel.ball(place, radius, tone, size[1] / size[0], outline=ragged)


def draw_tree(easel: Easel, rng: np.random.Generator, height: float) -> None:
    """Draws a tree with a trunk; `height` in metres."""
    crown = height * rng.uniform(0.22, 0.34)
    conifer = rng.random() < 0.2
    trunk = np.array((88, 70, 54)) * rng.uniform(0.6, 1.2)
    easel.rod((0, 0, 0), (0, height * 0.6, 0), (0.2, 0.12), trunk)
    color = _foliage(rng)
    if conifer:
        for share in np.linspace(0.36, 1.0, 6):
            b = height * share
            reach = crown * (1.1 - share) * 1.15 + 0.15
            tone = color * (0.55 + 0.4 * share) * easel.view.light.shade((0.0, 0.5, -0.8))
            low = b - 0.2 * height
            easel.face([(-reach, low, 0), (reach, low, 0), (0, b, 0)], tone)
        return
    _blobs(easel, rng, (0, height - crown * 1.15, 0), (crown, crown * 1.05, crown), 22, color)


def draw_bush(easel: Easel, rng: np.random.Generator, width: float, height: float) -> None:
    """Draws a bush or a piece of hedge."""
    color = _foliage(rng)
    count = max(3, int(width / height * 3))
    for a in np.linspace(-0.5, 0.5, count):
        middle = (a * (width - height * 0.6), height * 0.5, 0.0)
        _blobs(easel, rng, middle, (height * 0.55, height * 0.5, 0.3), 6, color)


def draw_pole(
    easel: Easel, rng: np.random.Generator, height: float, radius: float, arm: float
) -> None:
    """Draws a post; `arm` (m, signed) is the reach of a street lamp's arm, 0 = none."""
    metal = rng.uniform(50, 165) * rng.uniform(0.92, 1.08, 3)
    color = metal * easel.view.light.shade((0.0, 0.3, -0.9))
    easel.rod((0, 0, 0), (0, height, 0), (radius * 1.15, radius * 0.85), color)
    easel.rod((radius * 0.4, 0, 0), (radius * 0.4, height, 0), (radius * 0.4,) * 2, color * 1.2)
    easel.rod((0, 0, 0), (0, 0.5, 0), (radius * 1.7, radius * 1.5), color * 0.9)
    if arm:
        easel.rod((0, height, 0), (arm, height + 0.25, 0), (radius * 0.7, radius * 0.6), color)
        start, end = (arm * 0.85, height + 0.2, 0), (arm * 1.25, height + 0.25, 0)
        easel.rod(start, end, (0.13, 0.1), color * 0.8)


def draw_traffic_light(easel: Easel, rng: np.random.Generator, middle: float) -> None:
    """Draws a lamp box whose centre is `middle` metres above the ground."""
    half, tall = 0.24, 0.55
    shell = np.full(3, rng.uniform(22, 60)) if rng.random() < 0.75 else np.array((190, 170, 50))
    low, high = middle - tall, middle + tall
    easel.face(across((-half, half), (low, high)), shell)
    if rng.random() < 0.25:  # seen from behind or the side: no lamp shows
        easel.face(across((-half * 0.7, half * 0.2), (low, high)), shell * 1.25)
        return
    lit = rng.integers(3)
    for k, lamp in enumerate(LAMPS):
        glow = np.array(lamp) * (1.0 if k == lit else 0.22)
        easel.ball((0, high - 0.2 - 0.35 * k, 0), 0.145, glow)


def draw_traffic_sign(easel: Easel, rng: np.random.Generator, middle: float, radius: float) -> None:
    """Draws a sign plate of a few shapes: disc, triangle, octagon, square or board."""
    shape = rng.integers(5)
    color = np.array(SIGN_COLORS[rng.integers(len(SIGN_COLORS))], float)
    color = color * (0.45 + 0.55 * easel.view.light.shade((0.0, 0.2, -0.98)))
    inner = np.full(3, 232.0) if color.sum() < 560 else np.array((40.0, 40.0, 44.0))
    lift = np.array((0.0, middle, 0.0))
    if shape == 4:
        outline = np.array(across((-1.5, 1.5), (-0.9, 0.9))) * radius
    else:
        corners, turn = ((20, 0.0), (3, np.pi / 2), (8, np.pi / 8), (4, np.pi / 4))[shape]
        plate = circle(corners, turn) * (radius * (1.0 if corners > 4 else 1.25))
        outline = np.pad(plate, ((0, 0), (0, 1)))
    easel.face(outline + lift, color)
    style = rng.random()
    if style < 0.6:
        easel.face(outline * 0.68 + lift, inner)
    if style > 0.3:
        bar = np.array(across((-0.4, 0.4), (-0.12, 0.12))) * radius
        upright = rng.integers(2) == 1
        easel.face((bar[:, [1, 0, 2]] if upright else bar) + lift, color if style < 0.6 else inner)


def draw_clutter(easel: Easel, rng: np.random.Generator, half: float, height: float) -> None:
    """Draws a bin, a crate or a cone: things without an evaluated class."""
    color = any_color(rng, 30, 220)
    lit = easel.shade(color, (0.0, 0.2, -1.0))
    if rng.random() < 0.3:
        easel.face(across((-half, half), (0, height), top=(-half * 0.15, half * 0.15)), lit)
        low, high = (-half * 0.7, half * 0.7), (-half * 0.5, half * 0.5)
        easel.face(across(low, (height * 0.3, height * 0.55), top=high), (230, 230, 225))
        return
    top = easel.shade(color * 0.7, (0.0, 1.0, 0.0))
    wide = half * rng.uniform(1.0, 1.15)
    easel.face(across((-half, half), (0, height), top=(-wide, wide)), lit)
    lid = across((-wide, wide), (height * 0.86, height), top=(-wide * 0.94, wide * 0.94))
    easel.face(lid, top)
    ring = np.pad(DISC * half * 0.4, ((0, 0), (0, 1))) + (0.0, 0.5 * height, 0.0)
    easel.face(ring, np.asarray(lit) * rng.uniform(0.6, 1.3))
