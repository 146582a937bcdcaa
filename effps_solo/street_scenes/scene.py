"""What is in a scene: a pure function of (seed, split, index). Nothing is drawn here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .camera import Camera
from .ground import Street
from .items import Item, Sampler
from .light import Light
from .roadside import line_street, place_furniture
from .traffic import place_things

SPLIT_NUMBERS = {"train": 0, "val": 1}
NO_THINGS_SHARE = 0.03
"""Share of the scenes without any thing."""


@dataclass
class Scene:
    """All that the renderer needs."""

    camera: Camera
    light: Light
    street: Street
    items: list[Item]
    night: float  # share of lit windows
    exposure: float
    gain: float  # sensor noise, grey levels
    softness: float  # blur of the lens, px
    hood: bool
    frame: bool
    seed: int


def sample_scene(seed: int, split: str, index: int, height: int, width: int) -> Scene:
    """Samples the scene of one image; (seed, split, index) alone decide on all that is random."""
    rng = np.random.default_rng([seed, SPLIT_NUMBERS[split], index])
    camera = Camera(
        width=width,
        height=height,
        focal=width * rng.uniform(0.85, 1.2),
        eye=rng.uniform(1.3, 2.0),
        horizon=height * rng.uniform(0.34, 0.46),
        center=width * rng.uniform(0.4, 0.6),
    )
    night = float(np.clip(rng.normal(-0.1, 0.3), 0.0, 0.8))
    light = _sample_light(rng, night)
    street = _sample_street(rng)
    sampler = Sampler(rng, camera, street)
    line_street(sampler)
    if rng.random() >= NO_THINGS_SHARE:
        place_things(sampler)
    place_furniture(sampler)
    return Scene(
        camera=camera,
        light=light,
        street=street,
        items=sampler.items,
        night=night,
        exposure=rng.uniform(0.85, 1.15),
        gain=rng.uniform(1.0, 5.0),
        softness=rng.uniform(0.25, 0.6) * height / 256.0,
        hood=bool(rng.random() < 0.75),
        frame=bool(rng.random() < 0.4),
        seed=sampler.seed(),
    )


def _sample_light(rng: np.random.Generator, night: float) -> Light:
    overcast = rng.random() < 0.35 or night > 0.3
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.2)
    level = np.cos(elevation)
    sun = level * np.cos(azimuth), np.sin(elevation), level * np.sin(azimuth)
    dim = 1.0 - 0.45 * night
    warm = rng.uniform(-0.06, 0.08)
    grey = rng.uniform(0.0, 1.0) if overcast else rng.uniform(0.0, 0.4)
    clear, dull = np.array((92.0, 142.0, 205.0)), np.array((172.0, 178.0, 186.0))
    zenith = (clear * (1 - grey) + dull * grey) * dim * rng.uniform(0.8, 1.1)
    haze = np.array((208, 214, 220)) * dim * (1 + np.array((1.2, 0.2, -1.0)) * max(warm, 0) * 1.6)
    return Light(
        sun=tuple(float(v) for v in sun),
        ambient=(0.92 if overcast else rng.uniform(0.58, 0.72)) * dim,
        diffuse=0.08 if overcast else rng.uniform(0.4, 0.6),
        tint=(1.0 + warm, 1.0, 1.0 - warm),
        haze=tuple(haze.tolist()),
        visibility=float(np.exp(rng.uniform(np.log(110), np.log(700)))),
        zenith=tuple(zenith.tolist()),
        cloudiness=rng.uniform(0.0, 1.0),
        shadow=1.0 if overcast else rng.uniform(0.45, 0.65),
    )


def _sample_street(rng: np.random.Generator) -> Street:
    lanes = int(rng.choice([2, 2, 3, 4]))
    half = lanes * rng.uniform(1.6, 1.85) + 0.6
    verge = tuple(rng.uniform(1.0, 2.5) if rng.random() < 0.3 else 0.0 for _ in range(2))
    walk = tuple(rng.uniform(2.0, 4.5) for _ in range(2))
    yard = tuple(rng.uniform(1.5, 6.0) if rng.random() < 0.5 else 0.3 for _ in range(2))
    labels = tuple("terrain" if rng.random() < 0.7 else "sidewalk" for _ in range(2))
    crossing = zebra = None
    if rng.random() < 0.5:
        near = rng.uniform(11, 38)
        crossing = (near, near + rng.uniform(6, 9))
    if rng.random() < 0.3:
        zebra = crossing[0] - 4.5 if crossing else rng.uniform(8, 26)
    return Street(
        half=half,
        lanes=lanes,
        verge=verge,
        walk=walk,
        yard=yard,
        yard_label=labels,
        offset=half * (-rng.uniform(0.1, 0.65) if rng.random() < 0.65 else rng.uniform(0.0, 1.4)),
        yaw=rng.normal(0.0, 0.07),
        bend=rng.normal(0.0, 0.0009),
        crossing=crossing,
        zebra=zebra,
    )
