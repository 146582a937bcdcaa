"""People and their two-wheelers: persons, riders, bicycles, motorcycles."""

from __future__ import annotations

import numpy as np

from .easel import Color, Easel, Point, circle, wheel

SKIN = np.array([(236, 196, 170), (214, 166, 134), (176, 124, 92), (120, 80, 58), (92, 60, 44)])
HAIR = np.array([(30, 24, 20), (72, 50, 32), (120, 90, 54), (190, 160, 110), (150, 150, 150)])
SHOES = (34.0, 31.0, 31.0)
BICYCLE_WHEEL, MOTORCYCLE_WHEEL = 0.34, 0.32  # radius, m


def any_color(rng: np.random.Generator, low: float = 25, high: float = 225) -> np.ndarray:
    """Returns a random RGB, mostly muted, from the range that clothes, cars and houses share."""
    grey = rng.uniform(low, high)
    vividness = rng.choice([0.12, 0.45, 1.0], p=[0.45, 0.3, 0.25])
    hue = rng.uniform(low, high, 3)
    return (1.0 - vividness) * grey + vividness * hue


def _skin(rng: np.random.Generator) -> np.ndarray:
    return SKIN[rng.integers(len(SKIN))] * rng.uniform(0.9, 1.05)


def _head(easel: Easel, middle: Point, size: float, rng: np.random.Generator) -> None:
    a, b, c = middle
    easel.ball(middle, size, _skin(rng), stretch=1.25)
    hair = HAIR[rng.integers(len(HAIR))] if rng.random() < 0.8 else any_color(rng)
    easel.ball((a, b + 0.45 * size, c - 0.35 * size), size * 1.02, hair, 0.9, nearer=-0.01)
    if rng.random() < 0.3:
        easel.ball((a, b - 0.4 * size, c - 0.6 * size), size * 1.1, hair, 1.1, nearer=-0.02)


def draw_person(easel: Easel, rng: np.random.Generator, height: float) -> None:
    """Draws a standing or walking person, `height` in metres, at the easel's place."""
    h = height
    build = rng.uniform(0.85, 1.25)
    shade = 0.55 + 0.45 * easel.view.light.shade((0.0, 0.3, -0.95))
    trousers, top = any_color(rng, 20, 150) * shade, any_color(rng) * shade
    stride = rng.uniform(0.0, 0.2) * h * rng.choice([-1, 1])
    hem = rng.uniform(0.25, 0.4) * h if rng.random() < 0.3 else None
    _draw_legs(easel, h, build, trousers, stride)
    for side in (-1, 1):
        hip, chest = (side * 0.035 * h * build, 0.53 * h, 0), (side * 0.06 * h, 0.775 * h, 0)
        tone = top * (1.0 + 0.04 * side)
        easel.rod(hip, chest, (0.07 * h * build, 0.065 * h), tone, nearer=0.06)
        if hem is not None:
            low = (side * 0.07 * h, hem, 0)
            wide = 0.075 * h * build, 0.085 * h * build
            easel.rod((side * 0.045 * h, 0.58 * h, 0), low, wide, top * 0.95, nearer=0.05)
    _draw_arms(easel, rng, h, build, top, stride)
    easel.rod((0, 0.8 * h, 0), (0, 0.87 * h, 0), (0.035 * h, 0.03 * h), _skin(rng))
    _head(easel, (0, 0.925 * h, 0.015 * h), 0.058 * h, rng)
    if rng.random() < 0.25:
        color = any_color(rng)
        easel.rod((0, 0.6 * h, -0.11 * h), (0, 0.74 * h, -0.11 * h), (0.075 * h, 0.07 * h), color)


def _draw_legs(easel: Easel, h: float, build: float, color: np.ndarray, stride: float) -> None:
    for side, swing in ((-1, stride), (1, -stride)):
        foot = (side * 0.06 * h, 0.035 * h, swing)
        toe = (side * 0.065 * h, 0.02 * h, swing + 0.07 * h)
        knee = (side * 0.06 * h, 0.28 * h, swing * 0.35 + 0.03 * h)
        easel.rod((side * 0.055 * h, 0.5 * h, 0), knee, (0.055 * h * build, 0.042 * h), color)
        easel.rod(knee, foot, (0.04 * h, 0.03 * h), color * 0.93)
        easel.rod(foot, toe, (0.028 * h, 0.028 * h), SHOES)


def _draw_arms(
    easel: Easel, rng: np.random.Generator, h: float, build: float, top: np.ndarray, stride: float
) -> None:
    bent = rng.random() < 0.3
    bag = rng.random() < 0.2
    for side, swing in ((-1, -stride), (1, stride)):
        shoulder = (side * 0.115 * h * build, 0.785 * h, 0)
        elbow = (side * 0.15 * h * build, 0.62 * h, swing * 0.4 - 0.02 * h)
        hand = (side * 0.14 * h * build, 0.47 * h, swing * 0.9)
        if bent:
            hand = (side * 0.08 * h, 0.66 * h, 0.14 * h)
        easel.rod(shoulder, elbow, (0.038 * h, 0.032 * h), top * 0.88, nearer=0.08)
        easel.rod(elbow, hand, (0.031 * h, 0.025 * h), top * 0.85, nearer=0.08)
        easel.ball(hand, 0.025 * h, _skin(rng), nearer=0.09)
        if bag and side == 1:
            low = (hand[0], hand[1] - 0.12 * h, hand[2])
            easel.rod(hand, low, (0.02 * h, 0.07 * h), any_color(rng), nearer=0.1)


def _ring(easel: Easel, c: float, radius: float, width: float, color: Color) -> None:
    points = wheel(24, 0, c, radius, radius)[::2]
    for start, end in zip(points, np.roll(points, -1, axis=0)):
        easel.rod(start, end, (width, width), color)


def draw_bicycle(easel: Easel, rng: np.random.Generator) -> None:
    """Draws a bicycle that stands on the ground; its wheels and frame are filled in the label."""
    r = BICYCLE_WHEEL
    front, rear = 0.52, -0.52
    color = any_color(rng) * (0.6 + 0.4 * easel.view.light.shade((0.0, 0.3, -0.95)))
    for c in (front, rear):
        easel.cover(wheel(24, 0, c, r, r))
        _ring(easel, c, r, 0.028, (28, 28, 30))
        for x, y in circle(24)[1:12:3] * r:
            easel.rod((0, r - y, c - x), (0, r + y, c + x), (0.004, 0.004), (120, 120, 120))
    crank, seat, head = (0, 0.3, -0.08), (0, 0.82, -0.22), (0, 0.86, 0.34)
    easel.cover([crank, seat, head, (0, r, front), (0, r, rear)])
    hub = (0, r, rear)
    tubes = [(crank, seat), (crank, head), (seat, head), (crank, hub), (hub, seat)]
    for start, end in [*tubes, (head, (0, r, front))]:
        easel.rod(start, end, (0.024, 0.022), color, nearer=0.02)
    easel.rod(seat, (0, 0.93, -0.26), (0.018, 0.018), (60, 60, 60))
    easel.rod((0, 0.94, -0.36), (0, 0.95, -0.14), (0.06, 0.03), (30, 28, 28))
    easel.rod(head, (0, 1.03, 0.36), (0.018, 0.018), (70, 70, 70))
    easel.rod((-0.28, 1.04, 0.3), (0.28, 1.04, 0.3), (0.02, 0.02), (45, 45, 45))
    easel.rod((-0.13, 0.28, -0.08), (0.13, 0.28, -0.02), (0.025, 0.025), (40, 40, 40))
    easel.rod((0, 0.68, -0.56), (0, 0.72, -0.3), (0.03, 0.03), (40, 40, 42))
    if rng.random() < 0.35:
        basket = any_color(rng, 50, 180)
        easel.rod((0, 0.8, 0.55), (0, 0.95, 0.55), (0.13, 0.15), basket)


def draw_motorcycle(easel: Easel, rng: np.random.Generator) -> None:
    """Draws a motorcycle or scooter."""
    r = MOTORCYCLE_WHEEL
    shade = 0.55 + 0.45 * easel.view.light.shade((0.0, 0.3, -0.95))
    color = any_color(rng) * shade
    front, rear = 0.72, -0.68
    for c in (front, rear):
        easel.face(wheel(24, 0, c, r, r), (38, 38, 40))
        _ring(easel, c, r, 0.07, (22, 22, 24))
        easel.ball((0, r, c), 0.1, (150, 150, 155))
    easel.rod((0, 0.42, -0.3), (0, 0.42, 0.25), (0.19, 0.17), (58, 58, 62))
    easel.rod((0, 0.3, -0.6), (0, 0.36, 0.2), (0.06, 0.06), (165, 165, 170), nearer=0.1)
    easel.rod((0, 0.62, -0.75), (0, 0.66, -0.25), (0.13, 0.17), color * 0.92)
    easel.rod((0, 0.74, -0.7), (0, 0.74, -0.1), (0.1, 0.11), (32, 30, 30))
    easel.rod((0, 0.72, 0.0), (0, 0.78, 0.32), (0.17, 0.18), color)
    easel.rod((0, 0.85, 0.4), (0, r, front), (0.06, 0.05), (110, 110, 115))
    easel.rod((0, 0.68, front - 0.12), (0, 0.66, front + 0.18), (0.07, 0.05), color * 0.9)
    easel.rod((-0.34, 1.02, 0.32), (0.34, 1.02, 0.32), (0.035, 0.035), (40, 40, 42))
    easel.ball((0, 0.88, 0.55), 0.12, (235, 232, 205))
    easel.ball((0, 0.66, -0.88), 0.075, (190, 30, 28))
    if rng.random() < 0.5:
        screen = [(-0.2, 0.95, 0.5), (0.2, 0.95, 0.5), (0.14, 1.3, 0.38), (-0.14, 1.3, 0.38)]
        easel.face(screen, color * 0.7)


def draw_rider(easel: Easel, rng: np.random.Generator, on_motorcycle: bool) -> None:
    """Draws who sits on the two-wheeler that stands at the easel's place."""
    shade = 0.55 + 0.45 * easel.view.light.shade((0.0, 0.3, -0.95))
    trousers, top = any_color(rng, 20, 150) * shade, any_color(rng) * shade
    if on_motorcycle:
        hip, shoulder, head = (0.86, -0.28), (1.32, 0.0), (1.58, 0.08)
        grip, feet, knee = (0.34, 1.02, 0.32), [(0.36, 0.0), (0.36, 0.0)], (0.7, 0.22)
    else:
        lean = rng.uniform(0.05, 0.3)
        hip, shoulder, head = (0.98, -0.26), (1.45, -0.2 + lean), (1.68, -0.12 + lean)
        grip, feet, knee = (0.27, 1.05, 0.3), [(0.16, -0.02), (0.44, -0.16)], (0.66, 0.12)
    for side, foot in zip((-1, 1), feet):
        spread = side * (0.17 if on_motorcycle else 0.11)
        joint = (spread, knee[0] + (foot[0] - 0.3) * 0.5, knee[1])
        easel.rod((side * 0.09, *hip), joint, (0.09, 0.07), trousers)
        easel.rod(joint, (spread, *foot), (0.065, 0.05), trousers * 0.92)
        heel, toe = (spread, foot[0] - 0.03, foot[1]), (spread, foot[0] - 0.03, foot[1] + 0.12)
        easel.rod(heel, toe, (0.05, 0.04), SHOES)
        easel.rod((side * 0.06, *hip), (side * 0.1, *shoulder), (0.13, 0.11), top, nearer=0.04)
        bend = (shoulder[0] + grip[1]) / 2 - 0.05, (shoulder[1] + grip[2]) / 2 - 0.04
        elbow = (side * 0.27, *bend)
        easel.rod((side * 0.19, *shoulder), elbow, (0.06, 0.05), top * 0.88, nearer=0.06)
        easel.rod(elbow, (side * grip[0], *grip[1:]), (0.048, 0.04), top * 0.85, nearer=0.06)
    easel.rod((0, *shoulder), (0, *head), (0.06, 0.06), _skin(rng))
    if on_motorcycle or rng.random() < 0.45:
        easel.ball((0, *head), 0.115, _skin(rng), 1.2)
        easel.ball((0, head[0] + 0.05, head[1] - 0.01), 0.145, any_color(rng), nearer=0.02)
    else:
        _head(easel, (0, *head), 0.105, rng)
    if rng.random() < 0.3:
        low, high = (0, hip[0] + 0.15, hip[1] - 0.14), (0, shoulder[0], shoulder[1] - 0.16)
        easel.rod(low, high, (0.13, 0.13), any_color(rng))
