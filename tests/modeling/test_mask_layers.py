"""Masks in layers: worked by hand, and against maps of their own."""

import contextlib
from typing import Any, Callable, Tuple

import pytest
import torch

from effps_solo.modeling.detections import boxes_from_masks
from effps_solo.modeling.mask_layers import (
    FAR_LOGIT,
    TILE,
    MaskLayers,
    Tiles,
    in_boxes,
    layers_of,
    owners_of,
)

Form = Callable[[], Any]
SIZES = [(1, 1), (32, 64), (33, 31), (70, 100)]


def random_masks(count: int, size: Tuple[int, int]) -> Tuple[torch.Tensor, torch.Tensor]:
    """Logits (count, h, w) around boxes, and the boxes in points."""
    torch.manual_seed(0)
    low = torch.rand(count, 2) * torch.tensor([size[1], size[0]])
    boxes = torch.cat([low, low + 1 + 40 * torch.rand(count, 2)], dim=1).round()
    y, x = torch.arange(size[0])[:, None], torch.arange(size[1])
    x0, y0, x1, y1 = boxes[:, :, None, None].unbind(dim=1)
    inside = (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
    return torch.where(inside, torch.randn(count, *size), -20.0), boxes


def test_layers_by_hand() -> None:
    """Three masks over two tiles: the second and third share none, so two layers and an empty one do."""
    reach = torch.tensor([[[True, True]], [[True, False]], [[False, True]]])
    owners = owners_of(reach)
    assert owners.tolist() == [[[0, 0]], [[1, 2]], [[3, 3]]]
    assert layers_of(reach, owners).tolist() == [[[0, 0]], [[1, 2]], [[2, 1]]]
    nobody = owners_of(reach[:0])
    assert nobody.tolist() == [[[0, 0]]] and layers_of(reach[:0], nobody).shape == (0, 1, 2)


@pytest.mark.parametrize("size", SIZES)
def test_maps_boxes_and_points(size: Tuple[int, int], as_exported: Form) -> None:
    maps, boxes = random_masks(12, size)
    for form in (contextlib.nullcontext, as_exported):
        with form():
            layers = MaskLayers.of_maps(maps, boxes)
        assert len(layers) == 12 and torch.equal(layers.maps() > 0, maps > 0)
        near = maps > -20
        assert torch.equal(layers.maps()[near], maps[near])
        assert torch.equal(layers.boxes(), boxes_from_masks(maps > 0))
        masks, points = torch.randint(12, (3, 50)), torch.randint(size[0] * size[1], (4, 50))
        expected = layers.maps().flatten(1)[masks[:, None], points]
        assert torch.equal(layers.at(masks, points), expected)
        areas = (maps > 0).flatten(1).sum(dim=1).float()
        assert torch.equal(layers.sums((layers.logits > 0).float()), areas)
    if size == (70, 100):
        assert 1 < len(layers.logits) < 12


def test_what_is_far_is_far() -> None:
    maps = torch.full((2, TILE, 2 * TILE), 5.0)
    boxes = torch.tensor([[0.0, 0.0, 3.0, 3.0], [2.0 * TILE - 1, 0.0, 2.0 * TILE, 1.0]])
    layers = MaskLayers.of_maps(maps, boxes)
    first, second = layers.maps()
    assert (first[:, :TILE] == 5).all() and (first[:, TILE:] == FAR_LOGIT).all()
    assert (second[:, :TILE] == FAR_LOGIT).all() and (second[:, TILE:] == 5).all()
    assert len(layers.logits) == 2  # both in one layer


def test_some_of_them() -> None:
    maps, boxes = random_masks(12, (70, 100))
    layers = MaskLayers.of_maps(maps, boxes)
    few = torch.tensor([1, 5, 11])
    is_one_of_few = torch.zeros(12, dtype=torch.bool).index_fill(0, few, True)
    for chosen, index in ((few, few), (is_one_of_few, few), (slice(4, 6), torch.tensor([4, 5]))):
        some = layers.of(chosen)
        assert torch.equal(some.maps(), layers.maps()[index])
        assert torch.equal(some.boxes(), layers.boxes()[index])
        values = some.of_owners(torch.arange(1.0, 1 + len(index)))
        assert values.max() == len(index) and values.min() == 0  # of nobody
    assert layers.of(few[:0]).maps().shape == (0, 70, 100)


def test_of_owners_and_of_points() -> None:
    reach = torch.tensor([[[True, True]], [[True, False]]])
    owners = owners_of(reach)
    tiles = Tiles((1, 3), (1, 2))
    layers = MaskLayers(torch.zeros(3, 1, 3), owners, layers_of(reach, owners), tiles)
    values = torch.tensor([[1, 10], [2, 20]])
    assert layers.of_owners(values).tolist() == [
        [[[1, 10], [1, 10]]],
        [[[2, 20], [0, 0]]],
        [[[0, 0]] * 2],
    ]
    assert layers.tile_of_point.tolist() == [0, 0, 1]
    layer, tile = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 0, 1, 0])
    assert layers.owner_at(layer, tile).tolist() == [0, 0, 1, 2, 2]


def test_whole_maps_are_layers() -> None:
    maps, _ = random_masks(5, (33, 31))
    layers = MaskLayers.whole(maps)
    assert torch.equal(layers.maps(), maps)
    assert torch.equal(layers.boxes(), boxes_from_masks(maps > 0))
    assert MaskLayers.whole(maps[:0]).maps().shape == (0, 33, 31)


@pytest.mark.parametrize("size", SIZES)
def test_tiles(size: Tuple[int, int]) -> None:
    tiles, maps = Tiles(size), torch.randn(3, *size)
    split = tiles.split(maps, 7.0)
    assert split.shape == (3, tiles.down, TILE, tiles.across, TILE)
    assert torch.equal(tiles.join(split), maps)
    assert int((split == 7).sum()) == split.numel() - maps.numel()
    chosen = torch.randint(3, (4, tiles.down, tiles.across))
    picked = tiles.join(tiles.pick(split, chosen))
    numbers = tiles.numbers(maps.device)
    for layer, which in zip(picked, chosen.flatten(1)):
        assert torch.equal(layer, maps.gather(0, which[numbers][None])[0])
    rows, columns = tiles.coordinates(maps.device)
    assert rows.shape == (tiles.down, TILE, 1) and columns.shape == (tiles.across, TILE)
    assert rows.flatten().tolist() == list(range(tiles.down * TILE))


def test_boxes_in_tiles() -> None:
    tiles = Tiles((4, 6), (2, 2))
    boxes = torch.tensor([[1.0, 1.0, 3.0, 2.0], [-3.0, 2.0, 0.0, 9.0], [5.0, 3.0, 9.0, 9.0]])
    assert in_boxes(boxes, tiles).int().tolist() == [
        [[1, 1, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 1]],
    ]
