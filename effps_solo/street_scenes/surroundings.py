"""What a scene stands in: outlines of sky and ground, backdrop, the camera's own car and frame."""

from __future__ import annotations

from functools import partial

import numpy as np

from . import furniture, people
from .camera import Camera
from .easel import View
from .ground import FARTHEST, cross_polygon, strip_polygon
from .layers import Layer, fill_polygon, outlines
from .light import noise_window
from .scene import Scene


def ground_layers(scene: Scene) -> list[Layer]:
    """Returns the labelled outlines of sky and ground; their pixels are painted all at once."""
    camera, street = scene.camera, scene.street
    right, last, line = camera.width - 1, camera.height - 1, int(np.ceil(camera.horizon))
    whole = (0, 0, camera.width, camera.height)
    layers = [
        Layer("sky", _rectangle(0, 0, right, line), whole, None),
        Layer("terrain", _rectangle(0, line, right, last), whole, None),
    ]
    strips: list[tuple[str, float, float]] = []
    for sign in (-1, 1):
        road, verge, walk, yard = (sign * edge for edge in street.edges(sign))
        strips += [
            (street.yard_label[sign > 0], walk, yard),
            ("sidewalk", verge, walk),
            ("terrain", road, verge),
        ]
    strips.append(("road", -street.half, street.half))
    for label, low, high in strips:
        if abs(high - low) > 0.2:
            layers += mask_layers(label, strip_polygon(camera, street, low, high), camera)
    if street.crossing:
        layers += mask_layers("road", cross_polygon(camera, street.crossing), camera)
    return layers


def _rectangle(x0: int, y0: int, x1: int, y1: int) -> list[tuple[int, int]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def mask_layers(label: str, polygon: np.ndarray, camera: Camera) -> list[Layer]:
    """Returns unpainted layers of a (n, 2) polygon of x, y in pixels, cut at the image."""
    mask = np.zeros((camera.height, camera.width), np.uint8)
    fill_polygon(mask, polygon)
    whole = (0, 0, camera.width, camera.height)
    return [Layer(label, shape, whole, None) for shape in outlines(mask, 0, 0, 8)]


def backdrop(view: View, rng: np.random.Generator) -> list[Layer]:
    """Returns what closes the view behind the far end of the street."""
    camera = view.camera
    foot = camera.horizon + camera.eye * camera.pixels_per_metre(FARTHEST)
    unit = camera.focal / FARTHEST
    layers: list[Layer] = []
    knots = rng.uniform(3.5, 9.0, 24)
    columns = np.linspace(0, camera.width, 60)
    crest = np.interp(columns, np.linspace(0, camera.width, 24), knots) + rng.uniform(-0.6, 0.6, 60)
    for _ in range(rng.integers(0, 6)):
        left, wide = rng.uniform(-60, camera.width), rng.uniform(5, 22) * unit
        right, top = left + wide, foot - rng.uniform(9, 24) * unit
        box = np.array([(left, foot), (left, top), (right, top), (right, foot)])
        layers += _flat_layers(view, "building", box, people.any_color(rng, 70, 200), rng)
    outline = np.stack([columns, foot - crest * unit], axis=1)
    outline = np.concatenate([outline, [(camera.width, foot), (0, foot)]])
    color = furniture.FOLIAGE[rng.integers(5)] * 0.9
    return layers + _flat_layers(view, "vegetation", outline, color, rng)


def _flat_layers(
    view: View, label: str, polygon: np.ndarray, color: np.ndarray, rng: np.random.Generator
) -> list[Layer]:
    layers = mask_layers(label, polygon, view.camera)
    share = float(view.light.fade(FARTHEST))
    offset = rng.integers(0, 512, 2)
    tone = color * view.light.shade((0, 0.3, -0.9)) * (1 - share)
    haze = np.asarray(view.light.haze) * share

    def paint(left: int, top: int, right: int, bottom: int) -> tuple[np.ndarray, None]:
        if label == "building":
            rows, columns = np.ogrid[: bottom - top, : right - left]
            noise = -1.6 * ((rows % 4 < 2) & (columns % 3 == 1))
        else:
            noise = noise_window("grain", offset, bottom - top, right - left)
        return np.clip(tone * (1.0 + 0.12 * noise)[..., None] + haze, 0, 255), None

    for layer in layers:
        points = np.array(layer.polygon)
        layer.window = (*points.min(axis=0).tolist(), *(points.max(axis=0) + 1).tolist())
        layer.paint = partial(paint, *layer.window)
    return layers


def foreground(view: View, scene: Scene, rng: np.random.Generator) -> list[Layer]:
    """Returns what belongs to the camera: the hood of its car, the frame of the picture."""
    width, height = view.camera.width, view.camera.height
    layers = _hood(view, rng) if scene.hood else []
    if scene.frame:
        edge = max(2, round(2 * height / 256)) - 1
        right, last = width - 1, height - 1
        for box in (
            (0, 0, right, edge),
            (0, last - edge, right, last),
            (0, 0, edge, last),
            (right - edge, 0, right, last),
        ):
            whole = (0, 0, width, height)
            layers.append(Layer("out of roi", _rectangle(*box), whole, None, opaque=False))
    return layers


def _hood(view: View, rng: np.random.Generator) -> list[Layer]:
    width, height = view.camera.width, view.camera.height
    rise, shoulder = rng.uniform(0.04, 0.1) * height, rng.uniform(0.0, 0.02) * height
    left, right = rng.uniform(-0.25, 0.12) * width, rng.uniform(0.88, 1.25) * width
    across = np.linspace(-1, 1, 40)
    arch = np.clip(1 - np.abs(across) ** rng.uniform(2.2, 5.0), 0, 1) ** rng.uniform(0.4, 0.8)
    columns = (left + right) / 2 + across * (right - left) / 2
    outline = np.stack([columns, height - shoulder - rise * arch], axis=1)
    outline = np.concatenate([outline, [(right, height + 2), (left, height + 2)]])
    layers = mask_layers("ego vehicle", outline, view.camera)
    color = people.any_color(rng, 18, 190) * view.light.shade((0.0, 0.9, -0.3))
    rows = np.linspace(1.25, 0.8, height)[:, None, None] ** 4
    gleam = np.exp(-np.square((np.arange(width) / width - rng.uniform(0.2, 0.8)) / 0.12))
    rgb = np.clip(color * rows * 2.0 + 55 * gleam[:, None], 0, 255)
    for layer in layers:
        layer.paint = lambda: (rgb, None)
    return layers
