"""What a scene stands in: outlines of sky and ground, backdrop, the camera's own car and frame."""

from __future__ import annotations

import numpy as np

from . import furniture, people
from .easel import View
from .ground import FARTHEST, cross_polygon, strip_polygon
from .layers import Layer, Paint, Window, fill_polygon, outlines
from .light import noise_window
from .scene import Scene


def ground_layers(scene: Scene) -> list[Layer]:
    """Returns the labelled outlines of sky and ground; their pixels are painted all at once."""
    camera, street = scene.camera, scene.street
    height, width = camera.height, camera.width
    line = int(np.ceil(camera.horizon))
    last = (width - 1, height - 1)
    whole = (0, 0, width, height)
    sky = Layer("sky", [(0, 0), (width - 1, 0), (width - 1, line), (0, line)], whole, None)
    below = [(0, line), (width - 1, line), last, (0, height - 1)]
    base = Layer("terrain", below, whole, None)
    strips: list[tuple[str, float, float]] = []
    for side, sign in ((0, -1), (1, 1)):
        road, verge, walk, yard = (sign * edge for edge in street.edges(side))
        strips += [
            (street.yard_label[side], walk, yard),
            ("sidewalk", verge, walk),
            ("terrain", road, verge),
        ]
    strips.append(("road", -street.half, street.half))
    layers = [sky, base]
    for label, low, high in strips:
        if abs(high - low) > 0.2:
            layers += mask_layers(label, strip_polygon(camera, street, low, high), height, width)
    if street.crossing:
        layers += mask_layers("road", cross_polygon(camera, street.crossing), height, width)
    return layers


def mask_layers(label: str, polygon: np.ndarray, height: int, width: int) -> list[Layer]:
    """Returns unpainted layers of a (n, 2) polygon of x, y in pixels, cut at the image."""
    mask = np.zeros((height, width), np.uint8)
    fill_polygon(mask, polygon)
    return [Layer(label, shape, (0, 0, width, height), None) for shape in outlines(mask, 0, 0, 8)]


def backdrop(view: View, rng: np.random.Generator) -> list[Layer]:
    """Returns what closes the view behind the far end of the street."""
    camera = view.camera
    foot = camera.horizon + camera.eye * camera.pixels_per_metre(FARTHEST)
    unit = camera.focal / FARTHEST
    layers: list[Layer] = []
    knots = rng.uniform(3.5, 9.0, 24)
    columns = np.linspace(0, camera.width, 60)
    crest = np.interp(columns, np.linspace(0, camera.width, 24), knots) + rng.uniform(-0.6, 0.6, 60)
    for _ in range(int(rng.integers(0, 6))):
        left, wide, tall = (
            rng.uniform(-60, camera.width),
            rng.uniform(5, 22) * unit,
            rng.uniform(9, 24),
        )
        box = [
            (left, foot),
            (left, foot - tall * unit),
            (left + wide, foot - tall * unit),
            (left + wide, foot),
        ]
        layers += _flat_layer(view, "building", np.array(box), people.any_color(rng, 70, 200), rng)
    outline = np.stack([columns, foot - crest * unit], axis=1)
    outline = np.concatenate([outline, [(camera.width, foot), (0, foot)]])
    return layers + _flat_layer(
        view, "vegetation", outline, furniture.FOLIAGE[rng.integers(5)] * 0.9, rng
    )


def _flat_layer(
    view: View, label: str, polygon: np.ndarray, color: np.ndarray, rng: np.random.Generator
) -> list[Layer]:
    height, width = view.camera.height, view.camera.width
    layers = mask_layers(label, polygon, height, width)
    share = float(view.light.fade(FARTHEST))
    offset = rng.integers(0, 512, 2)
    tone = np.asarray(color) * view.light.shade((0, 0.3, -0.9)) * (1 - share)
    haze = np.asarray(view.light.haze) * share

    def painter(window: Window) -> Paint:
        size = window[3] - window[1], window[2] - window[0]

        def paint() -> tuple[np.ndarray, np.ndarray | None]:
            if label == "building":
                rows, columns = np.arange(size[0])[:, None], np.arange(size[1])[None]
                noise = -1.6 * ((rows % 4 < 2) & (columns % 3 == 1))
            else:
                noise = noise_window("grain", offset, *size)
            return np.clip(tone * (1.0 + 0.12 * noise)[..., None] + haze, 0, 255), None

        return paint

    for layer in layers:
        points = np.array(layer.polygon)
        left, top = (int(value) for value in points.min(axis=0))
        right, bottom = (int(value) + 1 for value in points.max(axis=0))
        layer.window = (left, top, right, bottom)
        layer.paint = painter(layer.window)
    return layers


def foreground(view: View, scene: Scene, rng: np.random.Generator) -> list[Layer]:
    """Returns what belongs to the camera: the hood of its car, the frame of the picture."""
    camera = view.camera
    layers: list[Layer] = []
    if scene.hood:
        layers += _hood(view, rng)
    if scene.frame:
        width, height = camera.width, camera.height
        edge = max(2, round(2 * height / 256)) - 1
        right, last = width - 1, height - 1
        for box in (
            (0, 0, right, edge),
            (0, last - edge, right, last),
            (0, 0, edge, last),
            (right - edge, 0, right, last),
        ):
            x0, y0, x1, y1 = box
            shape = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
            layers.append(Layer("out of roi", shape, (0, 0, width, height), None, opaque=False))
    return layers


def _hood(view: View, rng: np.random.Generator) -> list[Layer]:
    width, height = view.camera.width, view.camera.height
    rise, shoulder = rng.uniform(0.04, 0.1) * height, rng.uniform(0.0, 0.02) * height
    left, right = rng.uniform(-0.25, 0.12) * width, rng.uniform(0.88, 1.25) * width
    across = np.linspace(-1, 1, 40)
    arch = np.power(
        np.clip(1 - np.abs(across) ** rng.uniform(2.2, 5.0), 0, 1), rng.uniform(0.4, 0.8)
    )
    columns = (left + right) / 2 + across * (right - left) / 2
    top = height - shoulder - rise * arch
    outline = np.stack([columns, top], axis=1)
    outline = np.concatenate([outline, [(right, height + 2), (left, height + 2)]])
    layers = mask_layers("ego vehicle", outline, height, width)
    color = people.any_color(rng, 18, 190) * view.light.shade((0.0, 0.9, -0.3))
    rows = np.linspace(1.25, 0.8, height)[:, None, None] ** 4
    gleam = np.exp(-np.square((np.arange(width) / width - rng.uniform(0.2, 0.8)) / 0.12))[
        None, :, None
    ]
    rgb = np.clip(color * rows * 2.0 + 55 * gleam, 0, 255)
    for layer in layers:
        layer.paint = lambda: (rgb, None)
    return layers
