"""Training steps on whatever an annotation may hold."""

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import torch
from PIL import Image

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.guard import NonFiniteGuard

NUM_MAPS = 300
CATEGORIES = (21, 7, 90, 3)  # of tests/conftest.py: road, person, sky, car
THINGS = (7, 3)
Maps = Tuple[np.ndarray, List[Tuple[int, int]]]  # segment ids, [(id, category)]


def grid_of_objects(generator: np.random.Generator, count: int, side: int) -> Maps:
    """``count`` squares of ``side`` pixels beside each other, of random thing classes."""
    columns = int(np.ceil(count**0.5))
    ids = np.zeros((columns * side, columns * side), dtype=np.int64)
    for k in range(count):
        row, column = divmod(k, columns)
        ids[row * side : (row + 1) * side, column * side : (column + 1) * side] = k + 1
    return ids, [(k + 1, int(generator.choice(THINGS))) for k in range(count)]


def random_map(number: int) -> Maps:
    """Six kinds of maps in turn, from 8 pixels on."""
    generator = np.random.default_rng(number)
    height, width = (int(n) for n in generator.integers(8, 97, 2))
    kind = number % 6
    ids = np.zeros((height, width), dtype=np.int64)
    if kind == 0:  # all void
        return ids, []
    if kind == 1:  # one class, thing or stuff
        ids[:] = 1
        return ids, [(1, int(generator.choice(CATEGORIES)))]
    if kind == 2:  # no object
        ids[:], ids[height // 2 :] = 1, 2
        return ids, [(1, 21), (2, 90)]
    if kind == 3:  # one pixel on void or on stuff
        ids[:] = generator.integers(2)
        ids[generator.integers(height), generator.integers(width)] = 2
        return ids, [(i, c) for i, c in ((1, 21), (2, 3)) if (ids == i).any()]
    if kind == 4 and number % 30 == 4:
        return grid_of_objects(generator, 400, int(generator.integers(1, 4)))
    # Blocks of anything, void and crowds among them.
    rows, columns = generator.integers(1, 9, 2)
    blocks = generator.integers(0, 40, (rows, columns))
    ids = np.kron(blocks, np.ones((height // rows + 1, width // columns + 1), dtype=np.int64))
    ids = ids[:height, :width]
    return ids, [(int(i), int(generator.choice(CATEGORIES))) for i in np.unique(ids) if i]


@pytest.fixture
def maps(tiny_set: Path) -> Path:
    """``tiny_set`` with random maps as its training images."""
    images, annotations = [], []
    for number in range(NUM_MAPS):
        generator = np.random.default_rng(number)
        ids, segments = random_map(number)
        name, (height, width) = f"{number}.png", ids.shape
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tiny_set / "train" / name)
        rgb = np.stack([ids % 256, ids // 256, ids * 0], -1).astype(np.uint8)
        Image.fromarray(rgb).save(tiny_set / "panoptic_train" / name)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        info: List[Dict[str, Any]] = [
            {
                "id": i,
                "category_id": category,
                "iscrowd": int(category in THINGS and generator.uniform() < 0.1),
                "area": int((ids == i).sum()),
            }
            for i, category in segments
        ]
        annotations.append({"image_id": number, "file_name": name, "segments_info": info})
    path = tiny_set / "panoptic_train.json"
    content = {**json.loads(path.read_text()), "images": images, "annotations": annotations}
    path.write_text(json.dumps(content))
    return tiny_set


def test_the_maps_are_of_every_kind() -> None:
    maps = [random_map(number) for number in range(NUM_MAPS)]
    sizes = {length for ids, _ in maps for length in ids.shape}
    assert min(sizes) == 8 and max(sizes) <= 96
    counts = [sum(category in THINGS for _, category in segments) for _, segments in maps]
    assert counts.count(0) > 100 and counts.count(400) == 10
    assert sum(not ids.any() for ids, _ in maps) >= 50
    pixels = [[int((ids == i).sum()) for i, c in segments if c in THINGS] for ids, segments in maps]
    assert sum(areas == [1] for areas in pixels) >= 40


@pytest.mark.slow
def test_three_hundred_label_maps_through_a_training_step(maps: Path, tiny_config: Path) -> None:
    """Images at their own size, one or two a step: no exception, no NaN, a gradient everywhere."""
    words = ["INPUT.AUGMENTATION", "shortest_edge", "INPUT.MIN_SIZE_TRAIN", "(0,)", "SEED", "1"]
    cfg = load_config(str(tiny_config), [*words, "SOLVER.IMS_PER_BATCH", "1"])
    loader = Trainer.build_train_loader(cfg)
    model = Trainer.build_model(cfg).train()
    optimizer = Trainer.build_optimizer(cfg, model)
    guard = NonFiniteGuard(model, output_dir=str(maps))
    batches = iter(loader)
    seen = set()
    waiting: List[Dict[str, Any]] = []
    while len(seen) < NUM_MAPS:
        waiting += next(batches)
        if waiting[-1]["image_id"] % 3 == 0:
            continue  # with the next one
        seen |= {x["image_id"] for x in waiting}
        optimizer.zero_grad()
        guard.start_step(len(seen), ())
        losses = model(waiting)
        assert guard.accepts_losses(waiting, None, losses)
        sum(losses.values()).backward()
        missing = [name for name, p in model.named_parameters() if p.grad is None]
        assert missing == [] and guard.accepts_gradients()
        optimizer.step()
        waiting = []
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
