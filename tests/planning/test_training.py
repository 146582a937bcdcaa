"""What training sees, how often, for how long."""

from typing import Any, Dict, Sequence

import pytest

from effps_solo.planning.choice import Choice
from effps_solo.planning.frame import Frame
from effps_solo.planning.machine import Machine, StepCost
from effps_solo.planning.training import (
    batch_choices,
    data_choices,
    evaluation_choices,
    num_iterations,
    schedule_choices,
)


def by_key(choices: Sequence[Choice]) -> Dict[str, Any]:
    return {choice.key.split(".", 1)[1]: choice.value for choice in choices}


def test_data_without_peculiarities(make_data: Any) -> None:
    keys = by_key(data_choices(make_data([(64, 64)] * 4, [[9]] * 4)))
    assert keys["SAMPLER_TRAIN"] == "TrainingSampler" and "CLASS_WEIGHTS" not in keys
    assert keys["CROP_OBJECT_PROB"] == 0 and keys["PANOPTIC_FUSION.VOID_UNCLAIMED_THINGS"] is False
    assert keys["PANOPTIC_FUSION.STUFF_AREA_FRACTION"] == 0.002


def test_rare_classes(make_data: Any) -> None:
    data = make_data(
        [(100, 100)] * 10, [[5]] * 10, shares=(0.0005, 0.3, 0.003), num_images_of_class=[1, 10, 9]
    )
    keys = by_key(data_choices(data))
    assert keys["SAMPLER_TRAIN"] == "RepeatFactorTrainingSampler" and keys["REPEAT_THRESHOLD"] == 1
    assert keys["CLASS_WEIGHTS"] == [["car", 2.0], ["sky", 1.3]]
    assert keys["PANOPTIC_FUSION.VOID_UNCLAIMED_THINGS"] is True  # two thirds are void


def test_a_class_that_never_occurs_is_not_rare(make_data: Any) -> None:
    data = make_data([(64, 64)] * 3, [[9]] * 3, (0.1, 0.9, 0), num_images_of_class=[3, 3, 0])
    keys = by_key(data_choices(data))
    assert keys["SAMPLER_TRAIN"] == "TrainingSampler" and "CLASS_WEIGHTS" not in keys


def test_images_without_objects(make_data: Any) -> None:
    some = by_key(data_choices(make_data([(64, 64)] * 4, [[9], [], [9], []])))
    none = by_key(data_choices(make_data([(64, 64)] * 2, [[], []])))
    assert some["CROP_OBJECT_PROB"] == 0.5 and none["CROP_OBJECT_PROB"] == 0
    assert some["COPY_PASTE_OBJECTS"] == 3 and "COPY_PASTE_OBJECTS" not in none


def test_points_where_images_are_full_of_objects(make_data: Any) -> None:
    few = by_key(data_choices(make_data([(64, 64)] * 2, [[9] * 20, [9] * 19])))
    assert "SOLOV2.POINT_LOSS_WEIGHT" not in few and "SEM_SEG_HEAD.LOSS_WEIGHT" not in few
    many = by_key(data_choices(make_data([(64, 64)] * 2, [[9] * 40, []])))
    assert (many["SOLOV2.POINT_LOSS_WEIGHT"], many["SEM_SEG_HEAD.LOSS_WEIGHT"]) == (3.0, 2.0)


@pytest.mark.parametrize(("areas", "limit"), [([0.0004], 0.0004), ([0.3], 0.002), ([], 0.0)])
def test_small_regions(make_data: Any, areas: Any, limit: float) -> None:
    keys = by_key(data_choices(make_data([(64, 64)], [[9]], stuff_areas=areas)))
    found = keys["PANOPTIC_FUSION.STUFF_AREA_FRACTION"]
    assert found == limit


def test_batches(machine: Machine) -> None:
    keys = by_key(batch_choices(machine, one_by_one=False, recompute=False))
    assert keys == {"IMS_PER_BATCH": 2, "REFERENCE_BATCH_SIZE": 2, "NUM_WORKERS": 0}
    keys = by_key(batch_choices(machine, one_by_one=True, recompute=True))
    assert keys["ACCUMULATION_STEPS"] == 2 and keys["ACTIVATION_CHECKPOINTING"] is True


def test_iterations() -> None:
    assert num_iterations(StepCost(1.0, 0), minutes=30) == 1440
    assert num_iterations(StepCost(100.0, 0), minutes=1) == 50


@pytest.mark.parametrize(
    ("iterations", "scales", "jitter"),
    [(100, (1.2, 1.88), 0.0), (600, (1.12, 2.0), 0.2), (20000, (0.75, 3.0), 0.3)],
)
def test_augmentation_follows_the_passes(
    make_data: Any, iterations: int, scales: Any, jitter: float
) -> None:
    data, frame = make_data([(64, 64)] * 200, [[9]] * 200), Frame(0, 1.5, (96, 96), "")
    keys = by_key(schedule_choices(data, frame, 2, iterations, ""))
    assert keys["SCALE_RANGE"] == scales and keys["COLOR_JITTER"] == jitter
    assert keys["EMA.ENABLED"] == (iterations >= 1000) and 30 <= keys["WARMUP_ITERS"] <= 500
    assert keys["CHECKPOINT_PERIOD"] * 10 >= iterations


@pytest.mark.parametrize(
    ("images", "seconds", "keys"),
    [
        (0, 1.0, {"EVAL_PERIOD": 0}),
        (30, 1.0, {"EVAL_PERIOD": 250}),  # 360 s of 30 minutes are for evaluation
        (120, 1.0, {"EVAL_PERIOD": 334}),
        (200, 1.0, {"EVAL_PERIOD": 0}),
        (5000, 2.0, {"EVAL_PERIOD": 0, "MAX_IMAGES": 180}),
        (5000, 20.0, {"EVAL_PERIOD": 0, "MAX_IMAGES": 100}),
    ],
)
def test_evaluations_fit_into_the_time(images: int, seconds: float, keys: Dict[str, Any]) -> None:
    assert by_key(evaluation_choices(images, seconds, 1000, minutes=30)) == keys
