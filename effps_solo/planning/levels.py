"""Rules for SOLOv2: which level learns which sizes, how fine the grids are, how many objects there may be."""

import math
from dataclasses import dataclass
from typing import Any, List, Sequence, Tuple

import numpy as np
import torch

from effps_solo.modeling.instance_head.solov2.targets import assign_to_grid

from .choice import Choice
from .fingerprint import Fingerprint, ImageFacts
from .frame import Frame, Size, padded

NUM_LEVELS = 5
UNIT_PERCENT = 10  # a level's unit of size: this percentile of the objects
UNIT_STEP, MIN_UNIT, MAX_UNIT = 4, 8, 96
# Sides of the cells of each level, in units: fine enough that two neighbours do not meet in one.
CELLS = (1 / 3, 1 / 2, 2 / 3, 1, 3 / 2)
MIN_CELL = 4.0  # the stride of the finest features
WANTED_OWNERS = 0.995  # share of the objects that own a cell
REFINEMENT, MAX_REFINEMENTS = 0.8, 3
CENTER_SIGMA = 0.2
HUGE = 100000  # end of the last range
SPARE_DETECTIONS, CANDIDATES_PER_DETECTION = 1.5, 2.5
MIN_DETECTIONS, MIN_CANDIDATES = 100, 500

Grid = Tuple[int, int]
Range = Tuple[int, int]


def scale_ranges(unit: int) -> List[Range]:
    """Octaves that overlap by half: [1, 2u], [u, 4u], [2u, 8u], [4u, 16u], [8u, no end]."""
    ranges = [(unit * 2**level // 2, unit * 2 ** (level + 1)) for level in range(NUM_LEVELS)]
    return [(1, ranges[0][1]), *ranges[1:-1], (ranges[-1][0], HUGE)]


def grids(size: Size, cells: Sequence[float]) -> List[Grid]:
    """(rows, columns) of cells with these sides in a padded input."""
    return [(max(1, round(size[0] / cell)), max(1, round(size[1] / cell))) for cell in cells]


def owners(images: Sequence[ImageFacts], frame: Frame, num_grids: List[Grid], unit: int) -> float:
    """The share of the objects that own a cell at test time; 1 without any."""
    num_objects = num_owners = 0
    for image in images:
        factor = frame.factor(image.size)
        settings: Any = {"num_grids": num_grids, "scale_ranges": scale_ranges(unit)}
        targets = assign_to_grid(
            torch.from_numpy(image.centers) * factor,
            torch.from_numpy(image.boxes) * factor,
            torch.from_numpy(image.areas) * factor**2,
            torch.from_numpy(image.classes),
            padded_size=padded([side * factor for side in image.size]),
            center_sigma=CENTER_SIGMA,
            num_classes=int(image.classes.max(initial=0)) + 1,
            **settings,
        )
        num_objects += len(image.areas)
        num_owners += len(targets.instance_index.unique())
    return num_owners / num_objects if num_objects else 1.0


@dataclass(frozen=True)
class Levels:
    """What does not depend on the crop.

    Attributes:
        unit: of the scale ranges, in pixels.
        cells: side of the cells of each level, in pixels.
        share: of the objects that own a cell at test time.
        limits: between which all objects but a tenth below and above are, in pixels.
    """

    unit: int
    cells: Sequence[float]
    share: float
    limits: Tuple[float, float]


def choose_levels(data: Fingerprint, frame: Frame) -> Levels:
    """Ranges and cells; ``data`` has objects."""
    low, high = np.percentile(frame.sides(data.images), [UNIT_PERCENT, 100 - UNIT_PERCENT])
    unit = int(min(MAX_UNIT, max(MIN_UNIT, UNIT_STEP * round(low / UNIT_STEP))))
    cells, test_size, refinements = [unit * part for part in CELLS], padded(frame.size), 0
    while True:
        cells = [max(MIN_CELL, cell) for cell in cells]
        share = owners(data.images, frame, grids(test_size, cells), unit)
        if share >= WANTED_OWNERS or max(cells) == MIN_CELL or refinements == MAX_REFINEMENTS:
            return Levels(unit, cells, share, (float(low), float(high)))
        cells, refinements = [REFINEMENT * cell for cell in cells], refinements + 1


def level_choices(data: Fingerprint, frame: Frame, levels: Levels, crop: Size) -> List[Choice]:
    """Scale ranges, grids for crops and test images, numbers of instances."""
    unit, cells, test_size = levels.unit, levels.cells, padded(frame.size)
    low, high = levels.limits
    touching = 100 * data.touching_share
    told = ", ".join(f"{cell:.3g}" for cell in cells)
    as_lists = [list(limits) for limits in scale_ranges(unit)]
    most = int(data.num_objects.max())
    detections = max(MIN_DETECTIONS, 50 * math.ceil(SPARE_DETECTIONS * most / 50))
    candidates = max(MIN_CANDIDATES, 50 * math.ceil(CANDIDATES_PER_DETECTION * detections / 50))
    return [
        Choice(
            "MODEL.SOLOV2.SCALE_RANGES",
            as_lists,
            f"The network sees objects of {low:.0f} to {high:.0f} px (all but a tenth below and above); "
            f"octaves that overlap by half from the lower end, {unit} px, on; the last has no end.",
        ),
        Choice(
            "MODEL.SOLOV2.NUM_GRIDS",
            [list(grid) for grid in grids(crop, cells)],
            f"Cells of {told} px, from a third of {unit} px on: {100 * levels.share:.1f} % of the objects "
            f"own one; {touching:.0f} % of them touch another of their class.",
        ),
        Choice(
            "MODEL.SOLOV2.TEST_NUM_GRIDS",
            [list(grid) for grid in grids(test_size, cells)],
            f"The same cells in test images of {test_size[0]}x{test_size[1]} px.",
        ),
        Choice(
            "TEST.DETECTIONS_PER_IMAGE",
            detections,
            f"The fullest image has {most} objects; half as many more, at least {MIN_DETECTIONS}.",
        ),
        Choice(
            "MODEL.SOLOV2.NMS_PRE",
            candidates,
            f"{CANDIDATES_PER_DETECTION} candidates for each of them: an object has several cells.",
        ),
    ]
