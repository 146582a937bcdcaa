"""Upright surfaces on a straight ground line: house fronts, walls and fences.

Each pixel of such a surface is traced back to its place on it - s metres along the line, b metres
above the ground - and coloured by periodic patterns of (s, b), which fade out where their period
comes near the size of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np

from .easel import View
from .layers import Layer, fill_polygon, outlines
from .light import read_noise
from .people import any_color

MASONRY = np.array(
    [(150, 84, 66), (186, 160, 126), (196, 190, 180), (132, 128, 124)]
    + [(208, 196, 160), (120, 92, 74), (160, 150, 156), (94, 98, 108)]
)
SMALLEST_OUTLINE = 16  # px of bounding box


@dataclass(frozen=True)
class Spots:
    """Where the pixels of a window lie on an upright surface (metres)."""

    s: np.ndarray  # (1,w) along the line
    b: np.ndarray  # (h,w) above the ground
    depth: np.ndarray  # (1,w)
    step_s: np.ndarray  # (1,w) metres along the line that one pixel spans
    step_b: np.ndarray  # (1,w) metres upwards that one pixel spans
    length: float
    top: float


Line = tuple[tuple[float, float], tuple[float, float]]
"""World (x, z) of both ends of a line on the ground."""
Painted = tuple[np.ndarray, np.ndarray | None]
"""RGB (h,w,3) float32 and alpha (h,w), None = opaque."""
SurfacePaint = Callable[[Spots, np.random.Generator], Painted]


def upright_layers(
    view: View,
    ends: Line,
    top: float,
    label: str,
    paint: SurfacePaint,
    rng: np.random.Generator,
    item: int,
) -> list[Layer]:
    """Draws the surface, `top` metres high, over the ground line between two world points (x, z)."""
    camera = view.camera
    (x0, z0), (x1, z1) = line = _clip_near(ends)
    corners = [(x0, 0.0, z0), (x1, 0.0, z1), (x1, top, z1), (x0, top, z0)]
    pixels = camera.project(np.array(corners))
    left, upper = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - 1, 0)
    right, lower = np.ceil(pixels.max(axis=0)).astype(int) + 2
    width, height = min(right, camera.width) - left, min(lower, camera.height) - upper
    if width < 2 or height < 2 or z1 <= 1.0:
        return []
    mask = np.zeros((height, width), np.uint8)
    fill_polygon(mask, pixels - (left, upper))

    def paint_surface() -> tuple[np.ndarray, np.ndarray | None]:
        spots = _trace(view, (left, upper, width, height), line, top)
        rgb, alpha = paint(spots, rng)
        share = view.light.fade(spots.depth)[..., None].astype(np.float32)
        lit = view.light.shade(_facing(line)) * np.asarray(view.light.tint, np.float32)
        rgb *= lit * (1 - share)
        rgb += np.asarray(view.light.haze, np.float32) * share
        return np.clip(rgb, 0, 255, out=rgb), alpha

    window = int(left), int(upper), int(left + width), int(upper + height)
    shapes = outlines(mask, left, upper, SMALLEST_OUTLINE)[:1]
    solid = label != "fence"
    return [Layer(label, shape, window, paint_surface, solid, item) for shape in shapes]


def _clip_near(ends: Line) -> Line:
    (x0, z0), (x1, z1) = sorted(ends, key=lambda end: end[1])
    if z0 < 1.0 < z1:
        x0, z0 = x0 + (x1 - x0) * (1.0 - z0) / (z1 - z0), 1.0
    return (x0, z0), (x1, z1)


def _facing(ends: Line) -> tuple[float, float, float]:
    """Returns the unit normal that points to the camera's side of the line."""
    (x0, z0), (x1, z1) = ends
    normal = np.array((z1 - z0, 0.0, -(x1 - x0)))
    normal /= max(np.linalg.norm(normal), 1e-6)
    towards = -np.array((x0 + x1, 0.0, z0 + z1))
    return tuple(normal if normal @ towards > 0 else -normal)


def _trace(view: View, window: tuple[int, int, int, int], ends: Line, top: float) -> Spots:
    left, upper, width, height = window
    (x0, z0), (x1, z1) = ends
    camera = view.camera
    slope = (left + np.arange(width) - camera.center) / camera.focal
    bend = (x1 - x0) - slope * (z1 - z0)
    bend = np.where(np.abs(bend) < 1e-6, 1e-6, bend)
    share = np.clip((slope * z0 - x0) / bend, 0.0, 1.0)
    length = float(np.hypot(x1 - x0, z1 - z0))
    depth = np.maximum(z0 + share * (z1 - z0), 0.8)[None]
    s = (share * length)[None]
    step_b = depth / camera.focal
    rows = upper + np.arange(height)[:, None]
    b = camera.eye - (rows - camera.horizon) * step_b
    step_s = np.maximum(np.abs(np.gradient(s[0]))[None], step_b * 0.3)
    return Spots(s, b.astype(np.float32), depth, step_s, step_b, length, top)


def _visible(step: np.ndarray, size: float) -> np.ndarray:
    """Returns 1 where a detail of this size (m) is wider than 2 pixels, falling to 0 below one."""
    return np.clip(size / np.maximum(step, 1e-6) - 1.0, 0.0, 1.0)


def _band(position: np.ndarray, period: float, low: float, high: float) -> np.ndarray:
    phase = position - np.floor(position / period) * period  # np.mod is five times slower
    return (phase >= low) & (phase < high)


def _surface(spots: Spots, rng: np.random.Generator, color: np.ndarray) -> np.ndarray:
    offset = rng.integers(0, 512, 2)
    rough = read_noise("grain", offset[0] + spots.s * 24, offset[1] + spots.b * 24)
    stain = read_noise("cloud", offset[1] + spots.s * 9, offset[0] + spots.b * 9)
    factor = 1.0 + 0.045 * rough * _visible(spots.step_b, 0.03) + 0.05 * stain
    return color.astype(np.float32) * factor[..., None]


def _mix(rgb: np.ndarray, where: np.ndarray, color: np.ndarray, weight: np.ndarray | float) -> None:
    amount = (where * weight).astype(np.float32)
    rows, columns = np.nonzero(np.broadcast_to(amount > 0.01, rgb.shape[:2]))
    amount = np.broadcast_to(amount, rgb.shape[:2])[rows, columns, None]
    target = np.asarray(color, np.float32)
    if target.ndim == 3:
        target = target[rows, columns]
    rgb[rows, columns] += amount * (target - rgb[rows, columns])


def _bricks(rgb: np.ndarray, spots: Spots, size: tuple[float, float], joint: np.ndarray) -> None:
    wide, tall = size
    course = np.floor(spots.b / tall)
    across = np.mod(spots.s + 0.5 * wide * np.mod(course, 2), wide) < 0.1 * wide
    along = np.mod(spots.b, tall) < 0.16 * tall
    _mix(rgb, along, joint, 0.6 * _visible(spots.step_b, tall * 0.35))
    _mix(rgb, across & ~along, joint, 0.5 * _visible(spots.step_s, wide * 0.2))


def paint_facade(night: float, spots: Spots, rng: np.random.Generator) -> Painted:
    """Paints a house front; `night` (0..1) is the share of windows with a light on."""
    color = MASONRY[rng.integers(len(MASONRY))] * rng.uniform(0.75, 1.15)
    if rng.random() < 0.35:
        color = 0.6 * any_color(rng, 60, 225) + 55.0
    rgb = _surface(spots, rng, color)
    if rng.random() < 0.4:
        _bricks(rgb, spots, (0.5, 0.18), color * 1.25)
    _windows(rgb, spots, rng, color, night)
    eaves = spots.b > spots.top - rng.uniform(0.25, 0.7)
    _mix(rgb, eaves, color * rng.uniform(0.55, 1.25), 0.9)
    base = spots.b < rng.uniform(0.2, 0.8)
    _mix(rgb, base, color * 0.65, 0.8)
    return rgb, None


def _windows(
    rgb: np.ndarray, spots: Spots, rng: np.random.Generator, color: np.ndarray, night: float
) -> None:
    storey, pitch = rng.uniform(2.9, 3.7), rng.uniform(1.5, 3.4)
    width = pitch * rng.uniform(0.4, 0.72)
    sill, tall = rng.uniform(0.7, 1.1), rng.uniform(1.2, 1.9)
    shop = rng.random() < 0.45
    ground = rng.uniform(3.2, 4.0)
    above = (spots.b > ground) & (spots.b < spots.top - 0.8)
    rise = np.maximum(spots.b - ground, 0.0)
    clear = _visible(spots.step_s, width * 0.4) * _visible(spots.step_b, tall * 0.3)
    gap = (pitch - width) / 2
    cell = np.floor(spots.s / pitch) * 7 + np.floor(rise / storey) * 13
    lit = read_noise("grain", cell * 31, cell * 17) > 2.0 - 2.2 * night
    dark = np.array((48.0, 58.0, 72.0)) * rng.uniform(0.7, 1.6)
    pane = np.where(lit[..., None], (244.0, 208.0, 130.0), dark)
    frame, glass = (
        above
        & _band(spots.s, pitch, gap - edge, pitch - gap + edge)
        & _band(rise, storey, sill - edge, sill + tall + edge)
        for edge in (0.1, 0.0)
    )
    _mix(rgb, frame, color * rng.choice([0.6, 1.35]), 0.9 * clear)
    _mix(rgb, glass, pane, clear)
    mullion = glass & _band(spots.s - pitch / 2 + 0.04, pitch, 0, 0.08)
    _mix(rgb, mullion, color * 1.3, 0.9 * _visible(spots.step_s, 0.05) * clear)
    if shop:
        front = (spots.b > 0.5) & (spots.b < ground - 0.9)
        front = front & _band(spots.s, pitch * 1.6, 0.15, pitch * 1.6 - 0.15)
        board = (spots.b > ground - 0.8) & (spots.b < ground - 0.2)
        _mix(rgb, front, np.array((56.0, 60.0, 66.0)) * rng.uniform(0.6, 1.8), 0.9)
        _mix(rgb, board, any_color(rng), 0.9)
    else:
        door = (spots.b < 2.3) & _band(spots.s + rng.uniform(0, 6), pitch * 3, 0.0, 1.1)
        low = (spots.b > 1.0) & (spots.b < 2.4) & _band(spots.s, pitch, gap, pitch - gap)
        _mix(rgb, low, pane, clear)
        _mix(rgb, door, any_color(rng, 30, 120), _visible(spots.step_s, 0.4))


def paint_wall(spots: Spots, rng: np.random.Generator) -> Painted:
    """Paints a free-standing wall: concrete panels, bricks or stone blocks, with a cap."""
    color = np.asarray(MASONRY[rng.integers(len(MASONRY))], float) * rng.uniform(0.7, 1.15)
    rgb = _surface(spots, rng, color)
    style = rng.random()
    if style < 0.35:
        _bricks(rgb, spots, (0.5, 0.18), color * 1.3)
    elif style < 0.65:
        _bricks(rgb, spots, (0.9, 0.42), color * 0.6)
    else:
        joint = _band(spots.s, rng.uniform(1.8, 3.0), 0.0, 0.07)
        _mix(rgb, joint & (spots.b > -1), color * 0.5, _visible(spots.step_s, 0.04))
    _mix(rgb, spots.b > spots.top - 0.16, color * 1.3, 0.8)
    if rng.random() < 0.3:
        tag = read_noise("cloud", spots.s * 30, spots.b * 60) > 1.0
        _mix(rgb, tag & (spots.b < spots.top - 0.25), any_color(rng), 0.7)
    return rgb, None


def paint_fence(spots: Spots, rng: np.random.Generator) -> Painted:
    """Paints a fence: bars, planks or mesh between posts; the background shows through."""
    style = rng.integers(3)
    pitch, bar = ((0.16, 0.035), (0.17, 0.12), (0.1, 0.02))[style]
    color = np.array((140.0, 104.0, 70.0))
    if style != 1:
        color[:] = rng.choice([40.0, 90.0, 150.0, 205.0])
    color = color * rng.uniform(0.7, 1.2) * rng.uniform(0.9, 1.1, 3)
    sharp = _visible(spots.step_s, pitch * 0.6)
    bars = _band(spots.s, pitch, 0.0, bar) * sharp + (bar / pitch) * (1 - sharp)
    alpha = np.broadcast_to(np.maximum(bars, 0.12), spots.b.shape).astype(np.float32).copy()
    if style == 2:
        cross = _band(spots.b, pitch, 0.0, bar) * _visible(spots.step_b, pitch * 0.6)
        alpha = np.maximum(alpha, cross.astype(np.float32))
    thick = np.maximum(0.06, 0.7 * spots.step_b)
    for level in (0.12, 0.9):
        alpha[np.abs(spots.b - level * spots.top) < thick] = 1.0
    period = rng.uniform(1.8, 2.6)
    post = np.mod(spots.s, period) < np.maximum(0.1, 0.8 * spots.step_s)
    alpha[np.broadcast_to(post, alpha.shape)] = 1.0
    rgb = _surface(spots, rng, color)
    _mix(rgb, np.broadcast_to(post, alpha.shape), color * 0.75, 1.0)
    return rgb, alpha
