"""Draws the items of a scene: which painter draws what, and where."""

from __future__ import annotations

from functools import partial
from typing import Callable

import numpy as np

from . import furniture, lorries, people, vehicles, walls
from .easel import Easel, View
from .items import Item
from .layers import Layer
from .scene import Scene

LABELS = {"tree": "vegetation", "bush": "vegetation", "clutter": "static"}


def draw_item(view: View, scene: Scene, index: int) -> list[Layer]:
    """Returns the layers of item `index` of the scene; none where it is out of sight."""
    item = scene.items[index]
    if item.kind in ("house", "wall", "fence"):
        return _draw_upright(view, scene, item, index)
    if item.members:
        return _draw_group(view, scene, item, index)
    position, heading = place_of(scene, item)
    if position[1] < 1.5:
        return []
    rng = np.random.default_rng(item.seed)
    if item.kind in ("traffic light", "traffic sign"):
        return _draw_on_post(view, item, position, rng, index)
    if item.kind in ("tree", "bush", "pole", "clutter"):
        heading = 0.0
    easel = Easel(view, position, heading, _extent(item))
    if easel.empty:
        return []
    PAINTERS[item.kind](easel, rng, item)
    label = LABELS.get(item.kind, item.kind)
    return easel.finish(label, index, rng, **FINISHES.get(item.kind, {}))


def place_of(scene: Scene, item: Item) -> tuple[tuple[float, float], float]:
    """Returns the world position (x, z) and heading of an item."""
    street = scene.street
    return (item.u + street.shift(item.z), item.z), item.heading + street.heading(item.z)


def footprint(scene: Scene, item: Item) -> tuple[np.ndarray, float]:
    """Returns the (4, 2) corners x, z on the ground that cast a shadow, in metres, and the height."""
    (x, z), _ = place_of(scene, item)
    half, long = item.width / 2, item.length / 2
    if item.kind in ("tree", "bicycle", "motorcycle", "rider", "person", "pole"):
        half = long = {"tree": item.height * 0.2, "pole": 0.12, "person": 0.22}.get(item.kind, 0.3)
    turn = scene.street.heading(item.z)
    corners = np.array([(-half, -long), (half, -long), (half, long), (-half, long)])
    sin, cos = np.sin(turn), np.cos(turn)
    turned = np.stack([corners @ (cos, sin), corners @ (-sin, cos)], axis=1)
    return turned + (x, z), item.height


def _extent(item: Item) -> tuple[float, float, float]:
    if item.kind in ("car", "truck", "bus"):
        return 1.45, item.height + 0.7, item.reach / 2 + 0.4
    if item.kind == "tree":
        return item.height * 0.62, item.height * 1.25, 0.1
    if item.kind == "bush":
        return item.width * 0.8 + 0.3, item.height * 1.7, 0.1
    if item.kind == "pole":
        return 2.6, item.height + 0.8, 0.1
    if item.kind in ("bicycle", "motorcycle", "rider"):
        return 1.2, 2.2, 1.2
    return 0.75, item.height * 1.1 + 0.1, 0.75


def _draw_group(view: View, scene: Scene, item: Item, index: int) -> list[Layer]:
    position, _ = place_of(scene, item)
    extent = (item.width / 2 + 1.0, item.height + 0.5, item.length / 2 + 1.0)
    easel = Easel(view, position, scene.street.heading(item.z), extent)
    if easel.empty:
        return []
    for member in sorted(item.members, key=lambda m: -m.z):
        easel.move(*place_of(scene, member))
        first = len(easel.strokes)
        PAINTERS[member.kind](easel, np.random.default_rng(member.seed), member)
        if member.kind != "car":
            easel.strokes[first:] = sorted(easel.strokes[first:], key=lambda s: -s.depth)
    rng = np.random.default_rng(item.seed)
    return easel.finish(item.kind, index, rng, solid=item.kind == "cargroup")


def _draw_on_post(
    view: View, item: Item, position: tuple[float, float], rng: np.random.Generator, index: int
) -> list[Layer]:
    """Returns a post and the light or sign on it."""
    post = Easel(view, position, 0.0, (0.3, 4.2, 0.1))
    head = Easel(view, position, 0.0, (1.2, 4.6, 0.1))
    if post.empty or head.empty:
        return []
    if item.kind == "traffic light":
        middle = rng.uniform(2.5, 3.3)
        furniture.draw_traffic_light(head, rng, middle)
    else:
        radius, middle = rng.uniform(0.32, 0.5), rng.uniform(2.1, 2.9)
        furniture.draw_traffic_sign(head, rng, middle, radius)
    furniture.draw_pole(post, rng, middle, rng.uniform(0.05, 0.075), 0.0)
    return post.finish("pole", index, rng) + head.finish(item.kind, index, rng, texture=0.03)


def _draw_upright(view: View, scene: Scene, item: Item, index: int) -> list[Layer]:
    u0, u1, z0, z1 = item.box
    inner, outer = (u0, u1) if item.u > 0 else (u1, u0)
    street, house = scene.street, item.kind == "house"
    cuts = np.linspace(z0, z1, 2 if house or abs(street.bend) < 2e-4 else 4).tolist()
    points = [(inner + street.shift(z), z) for z in cuts]
    lines = list(zip(points[:-1], points[1:]))[::-1]
    (x, z), label = points[0], "building" if house else item.kind
    if house and z > 1.0:
        lines.insert(0, ((x, z), (x + (outer - inner), z)))
    paints = {"wall": walls.paint_wall, "fence": walls.paint_fence}
    paint = partial(walls.paint_facade, scene.night) if house else paints[item.kind]
    layers: list[Layer] = []
    for line in lines:
        rng = np.random.default_rng(item.seed)
        layers += walls.upright_layers(view, line, item.height, label, paint, rng, index)
    return layers


def _lamp_arm(item: Item, rng: np.random.Generator) -> float:
    return (-1 if item.u > 0 else 1) * rng.uniform(0.8, 1.8) if rng.random() < 0.6 else 0.0


PAINTERS: dict[str, Callable[[Easel, np.random.Generator, Item], None]] = {
    "person": lambda e, r, i: people.draw_person(e, r, i.height),
    "rider": lambda e, r, i: people.draw_rider(e, r, i.style == "motorcycle"),
    "bicycle": lambda e, r, i: people.draw_bicycle(e, r),
    "motorcycle": lambda e, r, i: people.draw_motorcycle(e, r),
    "car": lambda e, r, i: vehicles.draw_car(e, r, i.style),
    "truck": lambda e, r, i: lorries.draw_truck(e, r, i.reach),
    "bus": lambda e, r, i: lorries.draw_bus(e, r, i.reach),
    "tree": lambda e, r, i: furniture.draw_tree(e, r, i.height),
    "bush": lambda e, r, i: furniture.draw_bush(e, r, i.width, i.height),
    "pole": lambda e, r, i: furniture.draw_pole(
        e, r, i.height, r.uniform(0.06, 0.13), _lamp_arm(i, r)
    ),
    "clutter": lambda e, r, i: furniture.draw_clutter(e, r, r.uniform(0.25, 0.5), i.height),
}
FINISHES: dict[str, dict] = {
    "person": {"in_order": False, "side_light": 0.12},
    "bicycle": {"in_order": False, "solid": False},
    **dict.fromkeys(("rider", "motorcycle"), {"in_order": False}),
    **dict.fromkeys(("car", "truck", "bus"), {"texture": 0.03}),
    "tree": {"texture": 0.2, "side_light": 0.15},
    "bush": {"texture": 0.2},
}
