"""Draws a scene: picture and labelled polygons that agree with it pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .easel import View
from .ground import paint_ground, sample_paints, shadow_map
from .layers import Layer, draw_index_map, draw_mask, lay
from .light import SENSOR_OFFSETS, sensor_noise
from .objects import draw_item, footprint
from .scene import Scene
from .surroundings import backdrop, foreground, ground_layers

SMALLEST_SIDE = 10
"""A thing whose visible part is smaller than this (px) in both sides is left out."""
SMALLEST_AREA = 30
"""A thing of which fewer pixels are visible is left out."""
SMALLEST_SHARE = 0.08
"""A thing of which a smaller share is visible is left out."""
THINGS = ("person", "rider", "car", "truck", "bus", "motorcycle", "bicycle")
GROUND_KINDS = {"sky": 0, "road": 1, "sidewalk": 2, "terrain": 3}


@dataclass
class Picture:
    """One rendered image: RGB (H,W,3) uint8 and (label, polygon) pairs, later ones on top."""

    rgb: np.ndarray
    objects: list[tuple[str, list[tuple[int, int]]]]


def render(scene: Scene) -> Picture:
    """Draws the scene."""
    view = View(scene.camera, scene.light)
    rng = np.random.default_rng(scene.seed)
    ground = ground_layers(scene)
    layers = backdrop(view, rng)
    for index in _back_to_front(scene):
        layers += draw_item(view, scene, index)
    layers += foreground(view, scene, rng)
    layers = _without_slivers(ground, layers, scene)
    kept = {layer.item for layer in layers}
    canvas = _paint_background(view, scene, ground, kept, rng)
    for layer in _seen(layers, scene):
        lay(canvas, layer)
    objects = [(layer.label, layer.polygon) for layer in ground + layers]
    return Picture(_expose(canvas, scene, rng), objects)


def _back_to_front(scene: Scene) -> list[int]:
    """Orders the items so that what may cover another one comes after it."""
    boxes = np.array([item.box for item in scene.items]).reshape(-1, 4)
    eye = -scene.street.offset
    low, high, near, far = boxes.T
    beyond = near[:, None] >= far[None] - 1e-6
    level = ~beyond & ~beyond.T
    away = np.where(low > eye, low - eye, np.where(high < eye, eye - high, 0.0))
    farther = (away[:, None] > away[None]) | (
        (away[:, None] == away[None]) & (near[:, None] > near[None])
    )
    behind = beyond | (level & farther)
    np.fill_diagonal(behind, False)
    # Each step takes the farthest of those that nothing left must precede.
    waiting = behind.sum(axis=0)
    left = list(range(len(scene.items)))
    order = []
    while left:
        index = min(left, key=lambda i: (waiting[i], -far[i]))
        order.append(index)
        left.remove(index)
        waiting = waiting - behind[index]
    return order


def _without_slivers(ground: list[Layer], layers: list[Layer], scene: Scene) -> list[Layer]:
    """Leaves out the things of which too little is visible, until none is left."""
    camera = scene.camera
    full = {
        layer.item: int(draw_mask(layer.polygon, camera.width, camera.height).sum())
        for layer in layers
        if layer.label in THINGS
    }
    while True:
        shown = draw_index_map(layers, camera.width, camera.height)
        areas = np.bincount(shown[shown >= 0], minlength=len(layers))
        drop = {
            layer.item
            for k, layer in enumerate(layers)
            if layer.item in full and _is_sliver(shown, k, layer, areas[k], full[layer.item])
        }
        if not drop:
            return layers
        pairs = {scene.items[i].pair for i in drop} - {-1}
        drop |= {i for i, item in enumerate(scene.items) if item.pair in pairs}
        layers = [layer for layer in layers if layer.item not in drop]


def _is_sliver(shown: np.ndarray, index: int, layer: Layer, area: int, full: int) -> bool:
    if area < max(SMALLEST_AREA, SMALLEST_SHARE * full):
        return True
    left, top, right, bottom = layer.window
    window = shown[top:bottom, left:right] == index
    rows, columns = np.flatnonzero(window.any(axis=1)), np.flatnonzero(window.any(axis=0))
    return max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 < SMALLEST_SIDE


def _seen(layers: list[Layer], scene: Scene) -> list[Layer]:
    """Returns the layers that have pixels of their own and are not wholly behind opaque ones."""
    painted = [layer for layer in layers if layer.paint is not None]
    opaque = [k for k, layer in enumerate(painted) if layer.opaque]
    shown = draw_index_map([painted[k] for k in opaque], scene.camera.width, scene.camera.height)
    visible = set(np.array(opaque, dtype=int)[np.unique(shown[shown >= 0])])
    return [layer for k, layer in enumerate(painted) if k in visible or not layer.opaque]


def _paint_background(
    view: View, scene: Scene, ground: list[Layer], kept: set[int], rng: np.random.Generator
) -> np.ndarray:
    camera = scene.camera
    shown = draw_index_map(ground, camera.width, camera.height)
    kinds = np.array([GROUND_KINDS[layer.label] for layer in ground])[shown]
    items = [item for index, item in enumerate(scene.items) if index in kept]
    footprints = [footprint(scene, part) for item in items for part in item.members or (item,)]
    shade = shadow_map(view, footprints)
    return paint_ground(view, scene.street, sample_paints(rng), kinds, shade)


def _expose(canvas: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Returns the picture as the camera sees it: soft, exposed, noisy."""
    soft = np.asarray(cv2.GaussianBlur(canvas, (0, 0), scene.softness), np.float32)
    soft *= scene.exposure
    soft += sensor_noise(int(rng.integers(SENSOR_OFFSETS)), soft.shape) * np.float32(scene.gain)
    return np.clip(soft, 0, 255, out=soft).astype(np.uint8)
