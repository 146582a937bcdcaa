"""What lines a street: houses, parks, walls, fences, trees, posts, lights, signs, clutter."""

from __future__ import annotations

from .ground import FARTHEST
from .items import Item, Sampler

PIECES = {"traffic light": 0.8, "traffic sign": 1.3, "clutter": 0.9}
"""Mean number of tries to place one on each side of the street."""


def line_street(sampler: Sampler) -> None:
    """Lines the street with houses, parks, walls and fences, from the camera to the far end."""
    rng, street = sampler.rng, sampler.street
    for sign in (-1, 1):
        edge = street.edges(sign)[3]
        z = rng.uniform(-6.0, 1.0)
        dense = rng.choice([0.35, 0.75, 0.9])
        while z < FARTHEST - 8:
            end = min(z + rng.uniform(8, 24), FARTHEST)
            if street.crossing and z < street.crossing[1] + 2 and end > street.crossing[0] - 2:
                if street.crossing[0] - 2 - z < 4:
                    z = street.crossing[1] + 2
                    continue
                end = street.crossing[0] - 2
            add = _add_house if rng.random() < dense else _add_park
            add(sampler, sign, edge, z, end)
            z = end + (rng.uniform(1.5, 5.0) if rng.random() < 0.3 else 0.0)


def _add_house(sampler: Sampler, sign: int, edge: float, z0: float, z1: float) -> None:
    rng, depth = sampler.rng, 12.0
    u, height = sign * (edge + rng.uniform(0.0, 1.0) + depth / 2), rng.uniform(5.5, 16.0)
    house = Item("house", u, (z0 + z1) / 2, depth, z1 - z0, height, sampler.seed())
    sampler.items.append(house)
    if rng.random() < 0.25 and sampler.street.yard[sign > 0] > 1.0:
        _add_barrier(sampler, sign, sampler.street.edges(sign)[2] + 0.15, z0, z1)


def _add_barrier(sampler: Sampler, sign: int, u: float, z0: float, z1: float) -> None:
    """Adds a wall or fence along the street."""
    rng = sampler.rng
    kind = str(rng.choice(["wall", "fence"]))
    height = rng.uniform(1.1, 2.6) if kind == "wall" else rng.uniform(1.0, 2.0)
    sampler.items.append(Item(kind, sign * u, (z0 + z1) / 2, 0.1, z1 - z0, height, sampler.seed()))


def _add_park(sampler: Sampler, sign: int, edge: float, z0: float, z1: float) -> None:
    rng = sampler.rng
    for _ in range(int((z1 - z0) / 4) + 1):
        z, u = rng.uniform(z0, z1), sign * (edge + rng.uniform(1.5, 10.0))
        if rng.random() < 0.6:
            sampler.put(Item("tree", u, z, 1.6, 1.6, rng.uniform(5, 11), sampler.seed()))
        else:
            width = rng.uniform(1.2, 4.0)
            sampler.put(Item("bush", u, z, width, 1.0, rng.uniform(0.9, 2.2), sampler.seed()))
    if rng.random() < 0.75:
        _add_barrier(sampler, sign, edge, z0, z1)


def place_furniture(sampler: Sampler) -> None:
    """Trees, posts, lights, signs and clutter beside the road."""
    for sign in (-1, 1):
        _place_tree_row(sampler, sign)
        _place_posts(sampler, sign)
        for kind, mean in PIECES.items():
            for _ in range(sampler.rng.poisson(mean)):
                _place_piece(sampler, sign, kind)


def _place_tree_row(sampler: Sampler, sign: int) -> None:
    rng = sampler.rng
    if rng.random() > 0.4:
        return
    first, second, _, _ = sampler.street.edges(sign)
    u = sign * ((first + second) / 2 if second > first + 0.8 else first + 0.5)
    z = rng.uniform(4, 14)
    for _ in range(rng.integers(2, 7)):
        sampler.put(Item("tree", u, z, 0.5, 0.5, rng.uniform(4.5, 8.5), sampler.seed()))
        z += rng.uniform(8, 14)


def _place_posts(sampler: Sampler, sign: int) -> None:
    rng = sampler.rng
    u = sign * (sampler.street.edges(sign)[0] + 0.45)
    z = sampler.camera.nearest_ground + rng.uniform(0.5, 14)
    spacing = rng.uniform(16, 30)
    while z < 80:
        height = rng.uniform(4.5, 8)
        sampler.put(Item("pole", u, z, 0.3, 0.3, height, sampler.seed()))
        z += spacing


def _place_piece(sampler: Sampler, sign: int, kind: str) -> None:
    rng, crossing, nearest = sampler.rng, sampler.street.crossing, sampler.camera.nearest_ground
    first, _, third, _ = sampler.street.edges(sign)
    clutter = kind == "clutter"
    z = sampler.depth(nearest + 0.4, 18.0 if clutter else 26.0)
    if kind == "traffic light" and crossing:
        z = crossing[0] - rng.uniform(0.5, 2.0)
    u = sign * rng.uniform(first + 0.3, third if clutter else first + 1.2)
    size, height = (0.7, rng.uniform(0.6, 1.3)) if clutter else (0.4, 2.6)
    if sampler.in_view(u, z, -6) and z > nearest:
        sampler.put(Item(kind, u, z, size, size, height, sampler.seed()))
