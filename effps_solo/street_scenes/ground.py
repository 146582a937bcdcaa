"""Ground and sky: road with markings, sidewalks, terrain, clouds, cast shadows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from .camera import Camera
from .easel import View
from .layers import fill_polygon
from .light import read_noise

FARTHEST = 115.0
"""Depth (m) at which the street ends at the backdrop."""

Depth = TypeVar("Depth", float, np.ndarray)
Place = tuple[np.ndarray, ...]
"""z and u, the metres that a pixel spans, and two noises ("grain", "cloud") of some ground pixels."""


@dataclass(frozen=True)
class Street:
    """Cross section and course of the street; u = metres right of the middle of the road."""

    half: float  # half width of the road
    lanes: int
    verge: tuple[float, ...]  # strip of grass beside the road, left and right
    walk: tuple[float, ...]  # sidewalk
    yard: tuple[float, ...]  # strip between sidewalk and house
    yard_label: tuple[str, ...]
    offset: float  # x of the middle of the road at the camera
    yaw: float  # sideways metres per metre of depth
    bend: float  # sideways metres per squared metre of depth
    crossing: tuple[float, float] | None  # depths of a side street
    zebra: float | None  # depth at which a zebra crossing begins

    def shift(self, depth: Depth) -> Depth:
        """Returns x of the middle of the road at a depth."""
        return self.offset + self.yaw * depth + self.bend * (depth * depth)

    def heading(self, depth: float) -> float:
        """Returns the direction of the road at a depth (rad, 0 = along the camera's axis)."""
        return float(np.arctan(self.yaw + 2.0 * self.bend * depth))

    def edges(self, sign: int) -> tuple[float, float, float, float]:
        """Returns |u| of the edges of road, verge, sidewalk and yard on the side of this sign of u."""
        second = self.half + self.verge[sign > 0]
        third = second + self.walk[sign > 0]
        return self.half, second, third, third + self.yard[sign > 0]


@dataclass(frozen=True)
class Paints:
    """Colours and strengths of the ground, all sampled."""

    road: np.ndarray
    walk: np.ndarray
    curb: np.ndarray
    grass: np.ndarray
    soil: np.ndarray
    marking: np.ndarray
    slab: float  # side of the sidewalk's slabs, m
    offset: np.ndarray  # (2,) where the noise is read


def sample_paints(rng: np.random.Generator) -> Paints:
    """Samples the look of the ground."""
    grey = rng.uniform(62, 128)
    walk = rng.uniform(92, 172) * np.array((1.0, rng.uniform(0.9, 1.0), rng.uniform(0.8, 1.0)))
    return Paints(
        road=grey * np.array((1.0, 1.0, 1.0)) * rng.uniform(0.93, 1.05, 3),
        walk=walk,
        curb=walk * rng.uniform(1.05, 1.25),
        grass=np.array((rng.uniform(70, 130), rng.uniform(95, 135), rng.uniform(40, 70))),
        soil=np.array((132, 110, 82)) * rng.uniform(0.7, 1.15),
        marking=np.array((225, 222, 205)) * rng.uniform(0.8, 1.05),
        slab=rng.uniform(0.5, 1.2),
        offset=rng.integers(0, 512, 2),
    )


def strip_polygon(camera: Camera, street: Street, low: float, high: float) -> np.ndarray:
    """Returns pixel positions (N,2) of the ground between u = low and u = high."""
    depth = np.geomspace(camera.nearest_ground * 0.6, FARTHEST, 28)
    depth, u = np.append(depth, depth[::-1]), np.repeat((low, high), 28)
    return camera.project(np.stack([u + street.shift(depth), np.zeros(56), depth], axis=1))


def cross_polygon(camera: Camera, depths: tuple[float, float]) -> np.ndarray:
    """Returns pixel positions (4,2) of a side street that runs across the whole picture."""
    near, far = depths
    corners = [(-200.0, 0, near), (200.0, 0, near), (200.0, 0, far), (-200.0, 0, far)]
    return camera.project(np.array(corners))


def shadow_map(view: View, footprints: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """Returns the light factor (H,W) float32 of the ground below what stands on it.

    footprints: ground outline (N,2) of world (x, z) and height in metres of each object.
    """
    camera, light = view.camera, view.light
    cast = np.zeros((camera.height, camera.width), np.uint8)
    contact = np.zeros_like(cast)
    reach = -np.array((light.sun[0], light.sun[2])) / max(light.sun[1], 0.25)
    for outline, height in footprints:
        _fill_ground(camera, contact, outline)
        if light.shadow < 1.0:
            both = np.concatenate([outline, outline + reach * height]).astype(np.float32)
            _fill_ground(camera, cast, cv2.convexHull(both).reshape(-1, 2))
    soft = cv2.GaussianBlur(cast, (0, 0), 0.8).astype(np.float32) / 255.0
    near = cv2.GaussianBlur(contact, (0, 0), 1.6).astype(np.float32) / 255.0
    return (1.0 - (1.0 - light.shadow) * soft) * (1.0 - 0.45 * near)


def _fill_ground(camera: Camera, target: np.ndarray, outline: np.ndarray) -> None:
    points = np.stack([outline[:, 0], np.zeros(len(outline)), outline[:, 1]], axis=1)
    if points[:, 2].max() < camera.nearest_ground * 0.5:
        return
    fill_polygon(target, camera.project(points), 255)


def paint_ground(
    view: View, street: Street, paints: Paints, kinds: np.ndarray, shade: np.ndarray
) -> np.ndarray:
    """Returns the background (H,W,3) float32.

    kinds (H,W) int: 0 sky, 1 road, 2 sidewalk, 3 terrain; shade (H,W): light factor of the ground.
    """
    camera = view.camera
    line = int(np.clip(np.ceil(camera.horizon), 1, camera.height - 1))
    rows = np.arange(camera.height, dtype=np.float32)[:, None]
    columns = np.arange(camera.width, dtype=np.float32)[None]
    picture = np.empty((camera.height, camera.width, 3), np.float32)
    picture[: line + 1] = _paint_sky(view, rows[: line + 1], columns, paints.offset)
    x, z = camera.ground_points(rows[line:], columns)
    ground = _paint_surfaces(view, street, paints, kinds[line:], x, z)
    _light_ground(view, ground, z, shade[line:])
    np.copyto(picture[line:], ground, where=(kinds[line:] > 0)[..., None])
    return picture


def _paint_surfaces(
    view: View, street: Street, paints: Paints, kinds: np.ndarray, x: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Returns the unlit ground (h,w,3) float32 at world x (h,w) and z (h,1)."""
    u = x - street.shift(z)
    step = z / view.camera.focal  # metres a pixel spans
    fine = np.clip(0.12 / step - 0.5, 0.0, 1.0)
    grain = read_noise("grain", paints.offset[0] + x * 14, paints.offset[1] + z * 14) * fine
    patch = read_noise("cloud", paints.offset[1] + u * 8, paints.offset[0] + z * 4)
    full = np.broadcast_arrays(z, u, step, grain, patch)
    ground = np.empty((*u.shape, 3), np.float32)
    for kind, paint in ((1, _paint_road), (2, _paint_walk), (3, _paint_terrain)):
        where = kinds == kind
        place = tuple(values[where] for values in full)
        ground[where] = paint(street, paints, place)
    return ground


def _light_ground(view: View, ground: np.ndarray, depth: np.ndarray, shade: np.ndarray) -> None:
    """Lights the ground and lays haze over it, in place."""
    light = view.light
    up = light.ambient + light.diffuse * max(light.sun[1], 0.0)
    share = light.fade(np.minimum(depth, 400.0)).astype(np.float32)
    ground *= (shade * (up * (1.0 - share)))[..., None]
    ground *= np.asarray(light.tint, np.float32)
    ground += np.asarray(light.haze, np.float32) * share[..., None]


def _paint_terrain(street: Street, paints: Paints, place: Place) -> np.ndarray:
    *_, grain, patch = place
    mix = np.clip(0.5 + 0.5 * patch, 0.0, 1.0)[..., None]
    color = paints.grass * mix + paints.soil * (1 - mix)
    return color * (1 + 0.13 * grain)[..., None]


def _wrap(values: np.ndarray, period: float) -> np.ndarray:
    return values - np.floor(values / period) * period  # np.mod is five times slower


def _lines(distance: np.ndarray, half_width: float, step: np.ndarray) -> np.ndarray:
    """Returns how much (0..1) a line covers pixels that are `distance` (m) off its middle."""
    return np.clip((half_width - np.abs(distance)) / step + 0.5, 0.0, 1.0) * np.clip(
        2.0 * half_width / step, 0.0, 1.0
    )


def _paint_road(street: Street, paints: Paints, place: Place) -> np.ndarray:
    z, u, step, grain, patch = place
    tone = 1.0 + 0.05 * grain + 0.06 * patch
    lane = 2.0 * street.half / street.lanes
    tracks = np.abs(_wrap(u + street.half, lane) - lane / 2)
    tone = tone * (1.0 - 0.05 * _lines(tracks - 0.25 * lane, 0.3, step))
    color = paints.road * tone[..., None]
    marks = np.zeros_like(u)
    phase = float(paints.offset[0]) % 9.0
    dash = _wrap(z + phase, 9.0) < 4.0
    for k in range(1, street.lanes):
        line = _lines(u - (-street.half + k * lane), 0.09, step)
        solid = street.lanes % 2 == 0 and k == street.lanes // 2 and paints.offset[1] % 3 == 0
        marks = np.maximum(marks, line if solid else line * dash)
    edge = _lines(np.abs(u) - (street.half - 0.35), 0.07, step)
    if paints.offset[1] % 2:
        marks = np.maximum(marks, edge)
    if street.crossing is not None:
        near, far = street.crossing
        marks = marks * ((z < near - 0.5) | (z > far + 0.5))
    if street.zebra is not None:
        inside = (z > street.zebra) & (z < street.zebra + 3.0) & (np.abs(u) < street.half)
        bars = _wrap(u, 1.0) < 0.5
        blur = np.clip(1.5 - step * 3.0, 0.3, 1.0)
        marks = np.where(inside, bars * blur, marks)
    marks = (marks * (0.85 - 0.1 * np.clip(patch, -1, 2)))[..., None]
    return color * (1 - marks) + paints.marking * marks


def _paint_walk(street: Street, paints: Paints, place: Place) -> np.ndarray:
    z, u, step, grain, patch = place
    color = paints.walk * (1.0 + 0.05 * grain + 0.04 * patch)[..., None]
    side = paints.slab
    joint = np.maximum(
        _lines(_wrap(u, side) - side / 2, 0.025, step),
        _lines(_wrap(z, side) - side / 2, 0.03, step * 2),
    )
    color = color * (1.0 - 0.3 * joint * np.clip(0.3 * side / step - 0.5, 0.0, 1.0))[..., None]
    curb = (np.abs(np.abs(u) - street.half) < 0.18)[..., None]
    return np.where(curb, paints.curb, color)


def _paint_sky(view: View, rows: np.ndarray, columns: np.ndarray, offset: np.ndarray) -> np.ndarray:
    camera, light = view.camera, view.light
    above = np.clip((camera.horizon - rows) / max(camera.horizon, 1.0), 0.0, 1.0)
    mix = np.power(above, 0.7)[..., None]
    sky = np.asarray(light.haze) * (1 - mix) + np.asarray(light.zenith) * mix
    height = 60.0 / (above * 3.0 + 0.35)
    unit = 512.0 / camera.width
    cloud = read_noise(
        "cloud", offset[0] + (columns - camera.center) * unit * height / 90, offset[1] + height * 3
    )
    cover = np.clip((cloud + 2.4 * light.cloudiness - 1.2) * 0.8, 0.0, 1.0)
    soft = np.asarray(cv2.GaussianBlur(cover.astype(np.float32), (0, 0), 2.0))[..., None] * 0.75
    bright = np.mean(light.haze) * 0.5 + 118.0 - 40.0 * light.cloudiness * soft
    return sky * (1 - soft) + bright * soft
