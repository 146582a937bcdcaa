"""Easel: draws one object, given as faces, rods and balls in metres, and outlines it as a polygon.

Object frame, in metres: a to the object's right, b up, c forward, origin on the ground below its
middle. At heading 0 the object looks along the camera's axis, so that its back is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Sequence

import cv2
import numpy as np

from .camera import NEAREST_DEPTH, Camera
from .layers import FIXED_POINT_BITS, Layer, fixed_points, outlines
from .light import Light, noise_window

Color = Sequence[float] | np.ndarray
Point = Sequence[float] | np.ndarray
Ends = tuple[float, float]
Corner = tuple[float, float, float]

LARGE_PATCH = 60000  # px; larger patches are not supersampled
SMALLEST_OUTLINE = 12  # px of bounding box
CORNERS = 20
"""Corners of the outline of a ball."""


def circle(
    corners: int, start: float = 0.0, turn: float = 2.0 * np.pi, end: bool = False
) -> np.ndarray:
    """Returns (corners,2) points of an arc of the unit circle."""
    angle = start + np.linspace(0.0, turn, corners, endpoint=end)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def wheel(corners: int, a: float, c: float, radius: float, middle: float) -> np.ndarray:
    """Returns the outline (corners,3) of a wheel at a and c, whose axle is `middle` metres up."""
    rim = circle(corners) * radius
    return np.stack([np.full(corners, a), middle + rim[:, 1], c + rim[:, 0]], axis=1)


def across(a: Ends, b: Ends, c: float = 0.0, top: Ends | None = None) -> list[Corner]:
    """Returns the corners of an upright quadrilateral that stands across the object at c.

    It reaches from a[0] to a[1] at height b[0], and from top[0] to top[1] (as below) at height b[1].
    """
    high = top or a
    return [(a[0], b[0], c), (a[1], b[0], c), (high[1], b[1], c), (high[0], b[1], c)]


def lengthwise(a: float, c: Ends, b: Ends, top: Ends | None = None) -> list[Corner]:
    """Returns the same along the object at a: from c[0] to c[1], from top[0] to top[1] above."""
    return [(a, height, place) for place, height, _ in across(c, b, top=top)]


DISC = circle(CORNERS)
# The round ends of a rod along the first axis: eight points behind its start, eight beyond its end.
CAPSULE = np.concatenate(
    [circle(8, 0.5 * np.pi, np.pi, end=True), circle(8, -0.5 * np.pi, np.pi, end=True)]
)


@dataclass(frozen=True)
class View:
    """What every painter needs to know of a scene."""

    camera: Camera
    light: Light


@dataclass
class _Stroke:
    depth: float
    points: np.ndarray  # (N,2) patch pixels
    color: Color
    paints: bool  # False: belongs to the label, but the background shows through


class Easel:
    """Collects the strokes of one object and turns them into a layer."""

    def __init__(
        self, view: View, position: tuple[float, float], heading: float, extent: tuple[float, ...]
    ) -> None:
        """`extent`: half width, height, half length in metres of all that will be drawn."""
        self.view = view
        self.strokes: list[_Stroke] = []
        self.move(position, heading)
        half_width, height, half_length = extent
        corners = product((-half_width, half_width), (-0.1, height), (-half_length, half_length))
        pixels = view.camera.project(self.to_world(list(corners)))
        low = np.floor(pixels.min(axis=0)).astype(int) - 2
        high = np.ceil(pixels.max(axis=0)).astype(int) + 3
        self.left, self.top = max(low[0], 0), max(low[1], 0)
        self.width = min(high[0], view.camera.width) - self.left
        self.height = min(high[1], view.camera.height) - self.top
        self.empty = self.width < 2 or self.height < 2
        self.oversampling = 1 if self.width * self.height > LARGE_PATCH else 2

    def move(self, position: tuple[float, float], heading: float) -> None:
        """Puts the object frame at world (x, z), turned by `heading` (rad)."""
        self.x, self.z = position
        self.sin, self.cos = float(np.sin(heading)), float(np.cos(heading))

    def to_world(self, points: Sequence[Point] | np.ndarray) -> np.ndarray:
        """Maps (N,3) points of the object frame to the world."""
        a, b, c = np.asarray(points, dtype=np.float64).reshape(-1, 3).T
        x, z = self.x + a * self.cos + c * self.sin, self.z - a * self.sin + c * self.cos
        return np.stack([x, b, z], axis=1)

    def eye(self) -> tuple[float, float, float]:
        """Returns the camera's position in the object frame."""
        a = -self.x * self.cos + self.z * self.sin
        c = -self.x * self.sin - self.z * self.cos
        return a, self.view.camera.eye, c

    def shade(self, color: Color, normal: Point) -> tuple[float, float, float]:
        """Returns the colour of a face whose outward normal is given in the object frame."""
        a, b, c = normal
        world = (a * self.cos + c * self.sin, b, -a * self.sin + c * self.cos)
        factor = self.view.light.shade(world)
        return color[0] * factor, color[1] * factor, color[2] * factor

    def _spot(self, point: Point) -> tuple[float, float, float, float]:
        """Returns column and row in the patch, pixels per metre there, and depth of one point."""
        a, b, c = point
        camera = self.view.camera
        depth = self.z - a * self.sin + c * self.cos
        scale = camera.pixels_per_metre(depth)
        column = camera.center + (self.x + a * self.cos + c * self.sin) * scale - self.left
        row = camera.horizon + (camera.eye - b) * scale - self.top
        return self._shift(column), self._shift(row), scale * self.oversampling, depth

    def _spots(self, points: Sequence[Point] | np.ndarray) -> tuple[np.ndarray, float]:
        """Returns the places (N,2) of points in the patch and their mean depth."""
        a, b, c = np.asarray(points, dtype=np.float64).T
        camera, over = self.view.camera, self.oversampling
        depth = self.z - a * self.sin + c * self.cos
        scale = camera.focal * over / np.maximum(depth, NEAREST_DEPTH)
        columns = (self.x + a * self.cos + c * self.sin) * scale
        spots = np.stack([columns, (camera.eye - b) * scale], axis=1)
        spots += (self._shift(camera.center - self.left), self._shift(camera.horizon - self.top))
        return spots, float(depth.mean())

    def _shift(self, position: float) -> float:
        """Maps a position among the patch's pixels to its finer grid."""
        return (position + 0.5) * self.oversampling - 0.5

    def face(self, points: Sequence[Point] | np.ndarray, color: Color) -> None:
        """Adds a flat polygon (N,3)."""
        spots, depth = self._spots(points)
        self.strokes.append(_Stroke(depth, spots, color, True))

    def cover(self, points: Sequence[Point] | np.ndarray) -> None:
        """Adds a polygon to the label through which the background stays visible."""
        spots, _ = self._spots(points)
        self.strokes.append(_Stroke(1e9, spots, (0.0, 0.0, 0.0), False))

    def rod(
        self, start: Point, end: Point, radii: tuple[float, float], color: Color, nearer: float = 0
    ) -> None:
        """Adds a limb with round ends; `radii` in metres at start and end.

        nearer: how far (m) it is lifted in the order of drawing.
        """
        x0, y0, scale0, z0 = self._spot(start)
        x1, y1, scale1, z1 = self._spot(end)
        r0, r1 = max(radii[0] * scale0, 0.6), max(radii[1] * scale1, 0.6)
        length = float(np.hypot(x1 - x0, y1 - y0))
        cos, sin = ((x1 - x0) / length, (y1 - y0) / length) if length > 1e-6 else (1.0, 0.0)
        hull = CAPSULE @ ((cos, sin), (-sin, cos))
        hull[:8] = hull[:8] * r0 + (x0, y0)
        hull[8:] = hull[8:] * r1 + (x1, y1)
        self.strokes.append(_Stroke((z0 + z1) / 2 - nearer, hull, color, True))

    def ball(
        self,
        middle: Point,
        radius: float,
        color: Color,
        stretch: float = 1.0,
        nearer: float = 0.0,
        outline: np.ndarray = DISC,
    ) -> None:
        """Adds a sphere `stretch` times as high as wide; another `outline` (N,2) dents it."""
        x, y, scale, depth = self._spot(middle)
        size = max(radius * scale, 0.6)
        points = outline * (size, size * stretch) + (x, y)
        self.strokes.append(_Stroke(depth - nearer, points, color, True))

    def finish(
        self,
        label: str,
        item: int,
        rng: np.random.Generator,
        *,
        solid: bool = True,
        in_order: bool = True,
        texture: float = 0.06,
        side_light: float = 0.0,
    ) -> list[Layer]:
        """Draws the strokes and returns their layer, or nothing when too little is in the picture.

        solid: holes of the outline are painted too. in_order: keep the order of the calls instead
        of far to near. texture: strength of the surface noise. side_light: how much brighter the
        side towards the sun is (for round things).
        """
        if self.empty or not self.strokes:
            return []
        patch, mask = self._draw(in_order)
        shapes = outlines(mask, self.left, self.top, SMALLEST_OUTLINE)[:1]
        offset = rng.integers(0, 512, 2)
        solid = solid or bool((patch[..., 3] > 12).all())

        def paint() -> tuple[np.ndarray, np.ndarray | None]:
            rgb = patch[..., :3].astype(np.float32)
            noise = noise_window("grain", offset, *rgb.shape[:2]) * texture
            self._finish_surface(rgb, noise, side_light)
            alpha = None if solid else patch[..., 3].astype(np.float32) / 255.0
            return np.clip(rgb, 0, 255, out=rgb), alpha

        window = self.left, self.top, self.left + self.width, self.top + self.height
        return [Layer(label, shape, window, paint, solid, item) for shape in shapes]

    def _draw(self, in_order: bool) -> tuple[np.ndarray, np.ndarray]:
        """Returns the patch (h,w,4), in which what is not painted is dark, and the label (h,w)."""
        size = (self.height * self.oversampling, self.width * self.oversampling)
        usual = np.median([stroke.color for stroke in self.strokes if stroke.paints], axis=0)
        bare = np.array((*np.clip(usual * 0.7, 0, 255), 0)).astype(np.uint8)
        patch = np.full(size, bare.view(np.uint32)[0]).view(np.uint8).reshape(*size, 4)
        ghost = np.zeros(size, np.uint8)
        strokes = self.strokes if in_order else sorted(self.strokes, key=lambda s: -s.depth)
        colors = np.clip([stroke.color for stroke in strokes], 0, 255).tolist()
        fixed = fixed_points(np.concatenate([stroke.points for stroke in strokes]))
        ends = np.cumsum([len(stroke.points) for stroke in strokes])
        for stroke, points, color in zip(strokes, np.split(fixed, ends[:-1]), colors):
            target, value = (patch, (*color, 255)) if stroke.paints else (ghost, 255)
            cv2.fillPoly(target, [points], value, cv2.LINE_8, FIXED_POINT_BITS)
        label = np.maximum(patch[..., 3], ghost)
        if self.oversampling > 1:
            small = (self.width, self.height)
            patch = np.asarray(cv2.resize(patch, small, interpolation=cv2.INTER_AREA))
            label = np.asarray(cv2.resize(label, small, interpolation=cv2.INTER_AREA))
        return patch, (label >= 128).astype(np.uint8)

    def _finish_surface(self, rgb: np.ndarray, noise: np.ndarray, side_light: float) -> None:
        """Adds roughness, the light's colour and haze, in place."""
        light = self.view.light
        share = float(light.fade(self.z))
        noise += 1.0
        if side_light:
            noise *= 1.0 + side_light * light.sun[0] * np.linspace(-1.0, 1.0, self.width)
        rgb *= noise[..., None]
        rgb *= np.asarray(light.tint, np.float32) * np.float32(1.0 - share)
        rgb += np.asarray(light.haze, np.float32) * np.float32(share)
