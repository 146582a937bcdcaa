"""From a data set and a machine to the text of a config."""

import sys
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence

from .choice import Choice
from .config_file import as_yaml
from .fingerprint import Fingerprint
from .frame import CROP_PIXELS, choose_crop, choose_frame
from .levels import choose_levels, level_choices
from .machine import GIGABYTE, Machine, StepCost
from .network import network_choices
from .training import (
    BATCH_SIZE,
    EVALUATION_COST,
    batch_choices,
    data_choices,
    evaluation_choices,
    num_iterations,
    schedule_choices,
)

ENOUGH_ITERATIONS = 500  # of fewer, smaller crops make more
MIN_CROP_PIXELS = 2**16
MEMORY_SHARE = 0.9  # of what is there
_TRIAL_ITERATIONS = 1000  # of the config whose step is measured

Measure = Callable[[str], StepCost]


@dataclass(frozen=True)
class Budget:
    """What a step may take, tightened until it fits."""

    crop_pixels: int
    recompute: bool = False
    one_by_one: bool = False

    def tighter(self) -> "Budget":
        """The next one with less memory: blocks run twice, images go alone, crops shrink."""
        if not self.recompute:
            return Budget(self.crop_pixels, True)
        if not self.one_by_one:
            return Budget(self.crop_pixels, True, True)
        return Budget(self.crop_pixels // 2, True, True)


@dataclass(frozen=True)
class Plan:
    """A config, and the cost of a step that was measured with it."""

    text: str
    cost: StepCost
    iterations: int


def make_plan(
    data: Fingerprint,
    machine: Machine,
    data_set: Sequence[Choice],
    *,
    minutes: float,
    measure: Measure,
    num_test_images: int,
) -> Plan:
    """Decide everything.

    Args:
        data_set: the keys of DATASETS, and OUTPUT_DIR.
        minutes: that training may take.
        measure: the text of a config -> the cost of a training step; called for each crop that is tried.
        num_test_images: to evaluate on.

    Raises:
        MemoryError: even the smallest crop needs more memory than there is.
    """
    frame = choose_frame(data)
    fixed = [*data_set, *network_choices(machine), *data_choices(data), *frame.choices()]
    batch_size = BATCH_SIZE[machine.device]
    levels = choose_levels(data, frame) if len(data.sides) else None

    def write(budget: Budget, cost: StepCost, iterations: int, reason: str) -> str:
        crop, crop_choice = choose_crop(frame, budget.crop_pixels)
        pixels = batch_size * crop[0] * crop[1] / (frame.size[0] * frame.size[1])
        per_image = EVALUATION_COST * cost.seconds / pixels
        choices = [*fixed, crop_choice]
        if levels:
            choices += level_choices(data, frame, levels, crop)
        choices += batch_choices(machine, one_by_one=budget.one_by_one, recompute=budget.recompute)
        choices += schedule_choices(data, frame, batch_size, iterations, reason)
        choices += evaluation_choices(num_test_images, per_image, iterations, minutes)
        return as_yaml(_in_order(choices), _title(data, machine))

    whole, _ = choose_crop(frame, sys.maxsize)
    budget = Budget(min(CROP_PIXELS[machine.device], whole[0] * whole[1]))
    while True:
        cost = _measured(measure, write(budget, StepCost(1.0, 0), _TRIAL_ITERATIONS, ""))
        smaller = Budget(budget.crop_pixels // 2, budget.recompute, budget.one_by_one)
        if cost is None or cost.memory > MEMORY_SHARE * machine.memory:
            budget = budget.tighter()
            if budget.crop_pixels < MIN_CROP_PIXELS:
                raise MemoryError(
                    f"a training step does not fit into {machine.memory / GIGABYTE:.1f} GB of memory"
                )
        elif (
            num_iterations(cost, minutes) < ENOUGH_ITERATIONS
            and smaller.crop_pixels >= MIN_CROP_PIXELS
        ):
            budget = smaller
        else:
            break
    iterations = num_iterations(cost, minutes)
    reason = (
        f"A step takes {cost.seconds:.2f} s and {cost.memory / GIGABYTE:.1f} GB here: so many fit into "
        f"{minutes:g} minutes, a fifth of them for evaluation"
    )
    return Plan(write(budget, cost, iterations, reason), cost, iterations)


def _measured(measure: Measure, text: str) -> Optional[StepCost]:
    try:
        return measure(text)
    except MemoryError:
        return None


def _in_order(choices: Sequence[Choice]) -> List[Choice]:
    """Sections in the order in which they are first named, each in one piece."""
    sections: Dict[str, List[Choice]] = {}
    for choice in choices:
        sections.setdefault(choice.key.split(".")[0], []).append(choice)
    return [choice for section in sections.values() for choice in section]


def _title(data: Fingerprint, machine: Machine) -> str:
    share = sorted(zip(data.class_share, data.names))
    classes = ", ".join(f"{name} {100 * part:.2g} %" for part, name in reversed(share))
    height, width = sorted(map(tuple, data.sizes))[len(data.sizes) // 2]
    return (
        f"Planned for {data.num_images} training images ({height}x{width} px in the middle) with "
        f"{int(data.num_objects.sum())} objects on {machine.name}.\n"
        f"Pixels of the classes: {classes}."
    )
