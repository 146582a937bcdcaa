"""Vehicles, two-wheelers and people on a street, and groups of them."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from .items import Item, Sampler

TRIES = 5
"""Places tried for a thing."""
CROWD_SHARE, RACK_SHARE, CAR_ROW_SHARE = 0.48, 0.34, 0.28
"""Share of the scenes with a crowd, a full bicycle rack, a row of parked cars."""
FAR_WALKERS = 0.15
"""Share of the people who are far away."""
VEHICLES = {"car": (1.85, 4.5, 1.5), "truck": (2.45, 7.5, 3.2), "bus": (2.55, 11.0, 3.1)}


def place_things(sampler: Sampler) -> None:
    """Adds vehicles, two-wheelers, people and groups, as busy a street as chance wants it."""
    rng = sampler.rng
    nearest = sampler.camera.nearest_ground * 1.02
    busy = rng.uniform(0.5, 1.5)

    def repeat(mean: float, put: Callable[[Sampler, float], bool]) -> None:
        for _ in range(rng.poisson(mean * busy)):
            _try(lambda: put(sampler, nearest))

    _place_groups(sampler, nearest)
    repeat(0.9 if sampler.street.crossing else 0.2, _put_crossing_vehicle)
    repeat(2.9, _put_vehicle)
    _place_parked(sampler, nearest, busy)
    repeat(1.2, _put_rider)
    repeat(0.85, _put_parked_two_wheeler)
    repeat(4.6, _put_walker)


def _try(attempt: Callable[[], bool]) -> None:
    any(attempt() for _ in range(TRIES))


def _vehicle(sampler: Sampler, kind: str, u: float, z: float, heading: float) -> Item:
    rng = sampler.rng
    style = ""
    width, length, height = VEHICLES[kind]
    if kind == "car":
        style = str(rng.choice(["sedan", "hatchback", "suv", "van"], p=[0.33, 0.32, 0.22, 0.13]))
    else:
        length = rng.uniform(6.0, 8.5) if kind == "truck" else rng.uniform(9.0, 12.5)
    turned = abs(np.sin(heading))
    across, along = width + (length - width) * turned, length + (width - length) * turned
    z = z + (0.0 if turned > 0.5 else length / 2)
    return Item(kind, u, z, across, along, height, sampler.seed(), heading, style, length)


def _vehicle_kind(rng: np.random.Generator) -> str:
    return str(rng.choice(["car", "truck", "bus"], p=[0.56, 0.21, 0.23]))


def _side(rng: np.random.Generator) -> int:
    return int(rng.choice([-1, 1]))


def _sideways(rng: np.random.Generator, spread: float) -> float:
    """Samples a heading across the road; `spread` is its deviation in rad."""
    return _side(rng) * np.pi / 2 + rng.normal(0, spread)


def _beside_road(sampler: Sampler, sign: int, inner: float, outer: float) -> float:
    """Samples u on a sidewalk (-1 left, 1 right), `inner` and `outer` metres off its edges."""
    first, _, third, _ = sampler.street.edges(sign)
    return sign * sampler.rng.uniform(first + inner, third - outer)


def _put_vehicle(sampler: Sampler, nearest: float) -> bool:
    rng, street = sampler.rng, sampler.street
    lane = 2 * street.half / street.lanes
    k = int(rng.integers(street.lanes))
    u = -street.half + (k + 0.5) * lane + rng.uniform(-0.25, 0.25)
    away = u > 0 or (street.lanes == 3 and rng.random() < 0.5)
    z = sampler.depth(nearest + 1.0, 50.0, 1.3)
    heading = (0.0 if away else np.pi) + rng.normal(0, 0.05)
    return sampler.put_in_sight(_vehicle(sampler, _vehicle_kind(rng), u, z, heading), gap=0.5)


def _put_crossing_vehicle(sampler: Sampler, nearest: float) -> bool:
    """Puts a vehicle seen from the side: in the side street, or turning where there is none."""
    rng, street = sampler.rng, sampler.street
    near, far = street.crossing or (nearest + 4.0, 40.0)
    z = rng.uniform(near + 1.3, far - 1.3)
    reach = 0.5 * z if street.crossing else street.half * 0.4
    u, heading = rng.uniform(-reach, reach), _sideways(rng, 0.2)
    return sampler.put_in_sight(_vehicle(sampler, _vehicle_kind(rng), u, z, heading), gap=0.4)


def _place_parked(sampler: Sampler, nearest: float, busy: float) -> None:
    rng = sampler.rng
    for sign in (-1, 1):
        if rng.random() > 0.35 * busy:
            continue
        u = sign * (sampler.street.half - 1.05)
        z = nearest + rng.uniform(0.5, 14.0)
        heading = 0.0 if sign > 0 or rng.random() < 0.3 else np.pi
        for _ in range(rng.integers(1, 4)):
            if sampler.in_view(u, z + 4.0):
                kind = "car" if rng.random() < 0.9 else "truck"
                item = _vehicle(sampler, kind, u, z, heading + rng.normal(0, 0.03))
                sampler.put_in_sight(item, gap=0.3)
            z += rng.uniform(5.6, 8.5)


def _two_wheeler(rng: np.random.Generator) -> str:
    return "motorcycle" if rng.random() < 0.45 else "bicycle"


def _put_rider(sampler: Sampler, nearest: float) -> bool:
    rng, half = sampler.rng, sampler.street.half
    kind, u = _two_wheeler(rng), rng.uniform(-half, half)
    heading = (0.0 if u > 0 else np.pi) + rng.normal(0, 0.35)
    if rng.random() < 0.4:
        heading = _sideways(rng, 0.3)
    z, pair = sampler.depth(nearest + 0.5, 22.0), len(sampler.items)
    item = Item(kind, u, z, 1.2, 1.5, 1.1, sampler.seed(), heading, pair=pair)
    if not sampler.put_in_sight(item):
        return False
    rider = Item("rider", u, z - 0.01, 1.2, 1.5, 1.8, sampler.seed(), heading, kind, pair=pair)
    sampler.items.append(rider)
    return True


def _put_parked_two_wheeler(sampler: Sampler, nearest: float) -> bool:
    rng = sampler.rng
    kind = _two_wheeler(rng)
    u = _beside_road(sampler, _side(rng), 0.4, 0.3)
    z, heading = sampler.depth(nearest + 0.3, 14.0), rng.uniform(0, 2 * np.pi)
    return sampler.put_in_sight(Item(kind, u, z, 1.3, 1.3, 1.1, sampler.seed(), heading))


def _put_walker(sampler: Sampler, nearest: float) -> bool:
    rng = sampler.rng
    u, z = _place_of_walker(sampler, nearest)
    height = rng.uniform(1.1, 1.4) if rng.random() < 0.12 else rng.normal(1.72, 0.09)
    turn = rng.uniform(0, 2 * np.pi)
    person = Item("person", u, z, 0.5, 0.4, height, sampler.seed(), turn)
    if not sampler.put_in_sight(person, gap=0.05):
        return False
    if rng.random() < 0.2:
        beside = u + _side(rng) * rng.uniform(0.5, 0.65)
        aside = z + rng.normal(0, 0.25)
        sampler.put(Item("person", beside, aside, 0.5, 0.4, 1.68, sampler.seed(), turn), -0.05)
    return True


def _place_of_walker(sampler: Sampler, nearest: float) -> tuple[float, float]:
    rng, street = sampler.rng, sampler.street
    if street.zebra is not None and street.zebra > nearest and rng.random() < 0.3:
        return rng.uniform(-1, 1) * street.half, street.zebra + rng.uniform(0.3, 2.7)
    far = rng.random() < FAR_WALKERS
    z = rng.uniform(26, 45) if far else sampler.depth(nearest + 0.2, 20.0, 2.4)
    if rng.random() < 0.25:
        return rng.uniform(-1, 1) * street.half, z
    return _beside_road(sampler, _side(rng), 0.3, 0.2), z


def _place_groups(sampler: Sampler, nearest: float) -> None:
    """Places what stands too close together to be told apart."""
    sign = _side(sampler.rng)
    for chance, put in (
        (CROWD_SHARE, _put_crowd),
        (RACK_SHARE, _put_rack),
        (CAR_ROW_SHARE, _put_car_row),
    ):
        if sampler.rng.random() < chance:
            _try(lambda: put(sampler, nearest, sign))


def _put_group(sampler: Sampler, label: str, members: Sequence[Item], margin: float) -> bool:
    """Puts a group whose footprint is the box around its members' middles plus a margin (m)."""
    places = np.array([(member.u, member.z) for member in members])
    (u0, z0), (u1, z1) = (
        (places.min(axis=0) - margin).tolist(),
        (places.max(axis=0) + margin).tolist(),
    )
    u, z, height = (u0 + u1) / 2, (z0 + z1) / 2, max(member.height for member in members)
    group = Item(label, u, z, u1 - u0, z1 - z0, height, sampler.seed(), members=tuple(members))
    return sampler.in_view(u, z, -10) and sampler.put(group)


def _put_crowd(sampler: Sampler, nearest: float, sign: int) -> bool:
    rng = sampler.rng
    z = sampler.depth(nearest + 0.8, 20.0)
    u = _beside_road(sampler, sign, 0.9, 0.9)
    members = []
    for aside in np.linspace(-0.9, 0.9, rng.integers(4, 8)).tolist():
        height, turn = rng.normal(1.7, 0.1), rng.uniform(0, 2 * np.pi)
        place = u + aside, z + rng.uniform(-0.5, 0.5)
        members.append(Item("person", *place, 0.4, 0.4, height, sampler.seed(), turn))
    return _put_group(sampler, "persongroup", members, 0.3)


def _put_rack(sampler: Sampler, nearest: float, sign: int) -> bool:
    rng = sampler.rng
    z = sampler.depth(nearest + 0.4, 15.0)
    u = _beside_road(sampler, sign, 0.6, 0.4)
    turn = _sideways(rng, 0.15)
    members = []
    for k in range(rng.integers(4, 8)):
        place = u + rng.normal(0, 0.05), z + 0.55 * k
        members.append(Item("bicycle", *place, 1.6, 0.5, 1.1, sampler.seed(), turn))
    return _put_group(sampler, "bicyclegroup", members, 0.4)


def _put_car_row(sampler: Sampler, nearest: float, sign: int) -> bool:
    """Puts a row of parked cars, one behind the other."""
    rng = sampler.rng
    u, start = sign * (sampler.street.half - 1.05), rng.uniform(13, 34)
    heading = 0.0 if sign > 0 else np.pi
    cars = [
        _vehicle(sampler, "car", u, start + 5.3 * k, heading) for k in range(rng.integers(3, 6))
    ]
    return _put_group(sampler, "cargroup", cars, 0.9)
