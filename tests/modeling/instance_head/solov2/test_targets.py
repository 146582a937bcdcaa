"""Grid assignment against a slow reference that walks objects and cells; exact boundary cases."""

import random
from fractions import Fraction
from typing import Dict, List, Optional, Sequence, Tuple

import pytest
import torch

from effps_solo.modeling.instance_head.solov2.targets import GridTargets, assign_to_grid

NUM_CLASSES = 4
SIGMA = 0.2
Size = Tuple[int, int]
Range = Tuple[float, float]


class Objects:
    """Lists of objects, and the tensors made of them."""

    def __init__(self) -> None:
        self.centers: List[Tuple[float, float]] = []
        self.boxes: List[Tuple[float, float, float, float]] = []
        self.areas: List[int] = []
        self.classes: List[int] = []

    def add(
        self,
        center: Tuple[float, float],
        size: Tuple[float, float],
        area: int = 1,
        label: int = 0,
    ) -> None:
        (x, y), (w, h) = center, size
        self.centers.append(center)
        self.boxes.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        self.areas.append(area)
        self.classes.append(label)

    def assign(
        self,
        padded_size: Size,
        num_grids: Sequence[Size],
        scale_ranges: Sequence[Range],
        ignore: Optional[torch.Tensor] = None,
        sigma: float = SIGMA,
        one_owner: bool = True,
    ) -> GridTargets:
        return assign_to_grid(
            torch.tensor(self.centers).reshape(-1, 2).float(),
            torch.tensor(self.boxes).reshape(-1, 4).float(),
            torch.tensor(self.areas, dtype=torch.int64),
            torch.tensor(self.classes, dtype=torch.int64),
            padded_size=padded_size,
            num_grids=num_grids,
            scale_ranges=scale_ranges,
            center_sigma=sigma,
            num_classes=NUM_CLASSES,
            ignore=ignore,
            one_owner=one_owner,
        )


def _slow_cells(
    center: Sequence[float], box: Sequence[float], padded_size: Size, grid: Size
) -> List[Tuple[int, int]]:
    """The cells of one level that the centre region touches, at most one beside the centre's."""
    (height, width), (rows, columns) = padded_size, grid
    x, y = center
    half_w, half_h = SIGMA * (box[2] - box[0]) / 2, SIGMA * (box[3] - box[1]) / 2
    middle_row = min(max(int(y * rows // height), 0), rows - 1)
    middle_column = min(max(int(x * columns // width), 0), columns - 1)
    cells = []
    for row in range(rows):
        for column in range(columns):
            near = abs(row - middle_row) <= 1 and abs(column - middle_column) <= 1
            # The cell covers [row, row + 1) * height / rows.
            above = (y + half_h) * rows / height >= row
            below = (y - half_h) * rows / height < row + 1
            right = (x + half_w) * columns / width >= column
            left = (x - half_w) * columns / width < column + 1
            if near and above and below and left and right:
                cells.append((row, column))
    return cells


def _slow_reference(
    objects: Objects,
    padded_size: Size,
    num_grids: Sequence[Size],
    scale_ranges: Sequence[Range],
    ignore: Optional[torch.Tensor],
) -> Tuple[List[int], Dict[int, int]]:
    """Category of every cell, and the owner of every positive cell."""
    centers = torch.tensor(objects.centers).reshape(-1, 2).float().tolist()
    boxes = torch.tensor(objects.boxes).reshape(-1, 4).float().tolist()
    category: List[int] = []
    owners: Dict[int, int] = {}
    for (rows, columns), (low, high) in zip(num_grids, scale_ranges):
        offset = len(category)
        for row in range(rows):
            for column in range(columns):
                ignored = False
                if ignore is not None:
                    y = Fraction(2 * row + 1, 2 * rows) * padded_size[0] / 4
                    x = Fraction(2 * column + 1, 2 * columns) * padded_size[1] / 4
                    ignored = bool(ignore[int(y), int(x)])
                category.append(-1 if ignored else NUM_CLASSES)
        for k, (center, box) in enumerate(zip(centers, boxes)):
            scale = ((box[2] - box[0]) * (box[3] - box[1])) ** 0.5
            if not low <= scale <= high:
                continue
            for row, column in _slow_cells(center, box, padded_size, (rows, columns)):
                cell = offset + row * columns + column
                if cell in owners and objects.areas[owners[cell]] <= objects.areas[k]:
                    continue
                owners[cell] = k
                category[cell] = objects.classes[k]
    return category, owners


def _check(targets: GridTargets, expected: Tuple[List[int], Dict[int, int]]) -> None:
    category, owners = expected
    assert targets.category.dtype == torch.int64
    assert targets.cell_index.tolist() == sorted(owners)
    assert targets.instance_index.tolist() == [owners[cell] for cell in sorted(owners)]
    assert targets.category.tolist() == category


def _random_objects(rng: random.Random, padded_size: Size, count: int) -> Objects:
    height, width = padded_size
    objects = Objects()
    for _ in range(count):
        scale = rng.choice([0.5, 2, 8, 30, 100, 400])
        size = (rng.uniform(0.3, 2) * scale, rng.uniform(0.3, 2) * scale)
        center = (rng.uniform(0, width - 1e-3), rng.uniform(0, height - 1e-3))
        # Few different areas, so that ties occur.
        objects.add(center, size, rng.choice([5, 50, 50, 500]), rng.randrange(NUM_CLASSES))
    return objects


RANGES: List[Range] = [(1, 24), (12, 48), (24, 96), (48, 1000)]


@pytest.mark.parametrize("seed", range(300))
def test_against_the_slow_reference(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    padded_size = rng.choice([(64, 64), (64, 160), (96, 32), (100, 52), (224, 320)])
    squares = [(10, 10), (7, 7), (4, 4), (1, 1)]
    rectangles = [(6, 14), (12, 5), (3, 8), (2, 1)]
    num_grids = rng.choice([squares, rectangles])
    objects = _random_objects(rng, padded_size, rng.choice([0, 1, 3, 15, 40]))
    ignore = None
    if rng.random() < 0.5:
        ignore = torch.rand(-(-padded_size[0] // 4), -(-padded_size[1] // 4)) < 0.3
    targets = objects.assign(padded_size, num_grids, RANGES, ignore)
    _check(targets, _slow_reference(objects, padded_size, num_grids, RANGES, ignore))


def test_no_object() -> None:
    targets = Objects().assign((64, 64), [(4, 4), (2, 2)], [(1, 32), (16, 64)])
    assert targets.category.tolist() == [NUM_CLASSES] * 20
    assert len(targets.cell_index) == len(targets.instance_index) == 0
    assert targets.cell_index.dtype == targets.instance_index.dtype == torch.int64


def test_range_ends_are_inclusive() -> None:
    """sqrt(w h) = 96 exactly is on three levels of the published ranges."""
    ranges: List[Range] = [(1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)]
    grids = [(1, 1)] * 5
    for size, levels in [
        ((96, 96), [0, 1, 2]),
        ((64, 144), [0, 1, 2]),
        ((192, 192), [1, 2, 3]),
        ((384, 384), [2, 3, 4]),
        ((1, 1), [0]),
        ((2048, 2048), [4]),
        ((95.5, 95.5), [0, 1]),
        ((0.5, 1), []),
        ((2049, 2048), []),
        ((0, 0), []),
    ]:
        objects = Objects()
        objects.add((50, 50), size)
        targets = objects.assign((100, 100), grids, ranges)
        assert targets.cell_index.tolist() == levels, size


def _cells_of(center: Tuple[float, float], size: Tuple[float, float], sigma: float = 0.25) -> set:
    """Cells (row, column) of a 4 x 8 grid with 16 px cells; a sigma that is exact in binary."""
    objects = Objects()
    objects.add(center, size)
    targets = objects.assign((64, 128), [(4, 8)], [(0, 1e4)], sigma=sigma)
    return {divmod(cell, 8) for cell in targets.cell_index.tolist()}


def test_a_centre_on_a_boundary_is_in_the_cell_behind_it() -> None:
    assert _cells_of((32, 16), (1, 1)) == {(0, 1), (0, 2), (1, 1), (1, 2)}  # region spans 1/4 px
    assert _cells_of((32.5, 16.5), (1, 1)) == {(1, 2)}


def test_a_region_that_ends_on_a_boundary_touches_the_cell_behind_it() -> None:
    # Half extent 0.125 * 32 = 4: from 24 - 4 to 24 + 4 stays in cell 1; to 32 touches cell 2.
    assert _cells_of((24, 24), (32, 32)) == {(1, 1)}
    assert _cells_of((28, 24), (32, 32)) == {(1, 1), (1, 2)}
    # From 16 exactly: cell 0 ends before it.
    assert _cells_of((20, 24), (32, 32)) == {(1, 1)}
    assert _cells_of((19.5, 24), (32, 32)) == {(1, 0), (1, 1)}


def test_at_most_three_by_three_cells() -> None:
    """A region of 40 px half extent covers more, but only the neighbours of the centre count."""
    expected = {(r, c) for r in (0, 1, 2) for c in (2, 3, 4)}
    assert _cells_of((56, 24), (320, 320)) == expected


def test_cells_stay_inside_the_grid() -> None:
    assert _cells_of((0, 0), (320, 320)) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert _cells_of((127.5, 63.5), (320, 320)) == {(2, 6), (2, 7), (3, 6), (3, 7)}


def test_tiny_and_huge_objects() -> None:
    assert _cells_of((40.5, 8.25), (1, 1)) == {(0, 2)}
    assert len(_cells_of((64.5, 32.5), (4000, 4000))) == 9


@pytest.mark.parametrize("areas, owner", [((9, 4), 1), ((4, 9), 0), ((4, 4), 0)])
def test_a_contested_cell_has_one_owner(areas: Tuple[int, int], owner: int) -> None:
    objects = Objects()
    objects.add((20, 20), (8, 8), areas[0], label=1)
    objects.add((20, 20), (8, 8), areas[1], label=2)
    targets = objects.assign((64, 64), [(4, 4)], [(1, 64)])
    assert targets.cell_index.tolist() == [5]
    assert targets.instance_index.tolist() == [owner]
    assert int(targets.category[5]) == (1, 2)[owner]


def test_the_loser_of_a_cell_keeps_its_others() -> None:
    objects = Objects()
    objects.add((24, 24), (160, 16), area=900, label=1)  # columns 0 .. 2 of row 1
    objects.add((24, 24), (8, 8), area=30, label=2)  # the middle one
    targets = objects.assign((64, 64), [(4, 4)], [(1, 64)])
    assert targets.cell_index.tolist() == [4, 5, 6]
    assert targets.instance_index.tolist() == [0, 1, 0]
    assert targets.category[4:7].tolist() == [1, 2, 1]


def test_ignored_cells() -> None:
    """A cell is ignored by the stride-4 pixel at its centre, unless an object owns it."""
    ignore = torch.zeros(16, 16, dtype=torch.bool)
    ignore[2, 2] = True  # pixels 8 .. 11: the centre (8, 8) of cell (0, 0)
    ignore[6, 6] = True  # the centre (24, 24) of cell (1, 1)
    ignore[10, 11] = True  # beside the centre (40, 40) of cell (2, 2)
    objects = Objects()
    objects.add((24, 24), (8, 8), label=3)
    targets = objects.assign((64, 64), [(4, 4)], [(1, 64)], ignore)
    expected = [NUM_CLASSES] * 16
    expected[0], expected[5] = -1, 3
    assert targets.category.tolist() == expected
    assert targets.cell_index.tolist() == [5]


def test_ignore_everything() -> None:
    ignore = torch.ones(16, 16, dtype=torch.bool)
    targets = Objects().assign((64, 64), [(4, 4), (3, 5)], [(1, 64)] * 2, ignore)
    assert targets.category.tolist() == [-1] * 31


def _published_cell(position: float, length: int, count: int) -> int:
    """int((v / D) // (1 / S)) of float32 numbers."""
    relative = torch.tensor(position, dtype=torch.float32) / length
    return int(relative // (1.0 / count))


def _published(
    objects: Objects, padded_size: Size, num_grids: Sequence[Size], scale_ranges: Sequence[Range]
) -> Tuple[List[int], List[Tuple[int, int]]]:
    """Labels of all cells, and (cell, object) of every mask that is learned."""
    labels: List[int] = []
    pairs: List[Tuple[int, int]] = []
    for (rows, columns), (low, high) in zip(num_grids, scale_ranges):
        level = [NUM_CLASSES] * (rows * columns)
        for k, ((x, y), box) in enumerate(zip(objects.centers, objects.boxes)):
            width, height = box[2] - box[0], box[3] - box[1]
            if not low <= (width * height) ** 0.5 <= high:
                continue
            half_w, half_h = 0.5 * SIGMA * width, 0.5 * SIGMA * height
            row = _published_cell(y, padded_size[0], rows)
            column = _published_cell(x, padded_size[1], columns)
            top = max(max(0, _published_cell(y - half_h, padded_size[0], rows)), row - 1)
            down = min(min(rows - 1, _published_cell(y + half_h, padded_size[0], rows)), row + 1)
            left = max(max(0, _published_cell(x - half_w, padded_size[1], columns)), column - 1)
            right = min(_published_cell(x + half_w, padded_size[1], columns), columns - 1)
            for i in range(top, down + 1):
                for j in range(left, min(right, column + 1) + 1):
                    level[i * columns + j] = objects.classes[k]
                    pairs.append((len(labels) + i * columns + j, k))
        labels += level
    return labels, pairs


@pytest.mark.parametrize("count", [0, 1, 12, 40, 600])
@pytest.mark.parametrize("padded_size", [(64, 64), (96, 160), (800, 1344)])
def test_without_one_owner_it_equals_the_published(padded_size: Size, count: int) -> None:
    """Every claim is a mask to learn, and the last object gives the class."""
    rng = random.Random(count)
    objects = _random_objects(rng, padded_size, count)
    grids = [(10, 10), (7, 7), (6, 14), (1, 1)]
    targets = objects.assign(padded_size, grids, RANGES, one_owner=False)
    labels, pairs = _published(objects, padded_size, grids, RANGES)
    assert targets.category.tolist() == labels
    actual = list(zip(targets.cell_index.tolist(), targets.instance_index.tolist()))
    assert actual == sorted(pairs)
    assert targets.num_positive == len({cell for cell, _ in pairs})
    if count >= 40:
        assert len(pairs) > targets.num_positive  # the test sees contested cells


def test_published_cells_of_centres_on_a_border() -> None:
    """There rounding decides; here such a centre is always in the cell behind the border."""
    for count, in_the_lower in ((40, 25), (16, 0)):
        borders = [k * 1344 / count for k in range(1, count)]
        theirs = [_published_cell(v, 1344, count) for v in borders]
        assert sum(cell < k for k, cell in enumerate(theirs, 1)) == in_the_lower
    objects = Objects()
    objects.add((33.6 * 5, 0.5), (1e-3, 1e-3))
    assert objects.centers[0][0] == 168.0
    targets = objects.assign((1344, 1344), [(40, 40)], [(0, 10)], sigma=0.0)
    assert targets.cell_index.tolist() == [5]
