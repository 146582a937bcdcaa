"""The whole plan, with made-up costs of a step."""

from typing import Any, List

import pytest
import yaml
from detectron2.config import get_cfg

from effps_solo import add_effps_solo_config
from effps_solo.config.files import load_config_file
from effps_solo.planning.choice import Choice
from effps_solo.planning.config_file import as_yaml
from effps_solo.planning.machine import Machine, StepCost
from effps_solo.planning.network import network_choices
from effps_solo.planning.planner import make_plan

DATA_SET = [Choice("DATASETS.TRAIN", ["my_train"]), Choice("OUTPUT_DIR", "output")]


def crop_of(text: str) -> int:
    height, width = yaml.safe_load(text)["INPUT"]["CROP_SIZE"].strip("()").split(",")
    return int(height) * int(width)


def test_a_plan_is_a_config_with_a_reason_for_every_choice(
    make_data: Any, machine: Machine, tmp_path: Any
) -> None:
    data = make_data([(768, 768)] * 4, [[30, 40, 50]] * 4)
    plan = make_plan(
        data,
        machine,
        DATA_SET,
        minutes=30,
        measure=lambda text: StepCost(1.0, 10**9),
        num_test_images=0,
    )
    assert plan.iterations == 1440
    path = tmp_path / "config.yaml"
    path.write_text(plan.text)
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    load_config_file(cfg, str(path))
    assert cfg.INPUT.CROP_SIZE == (512, 512) and cfg.SOLVER.MAX_ITER == 1440
    assert cfg.DATASETS.TRAIN == ("my_train",) and len(cfg.MODEL.SOLOV2.NUM_GRIDS) == 5
    lines = plan.text.splitlines()
    for key in ("CROP_SIZE", "SCALE_RANGES", "NUM_GRIDS", "MAX_ITER", "STUFF_AREA_FRACTION"):
        (i,) = [i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:")]
        assert lines[i - 1].strip().startswith("#"), key
    assert "4 training images" in lines[0] and "12 objects on a processor" in lines[0]


def test_crops_shrink_until_there_are_enough_iterations(make_data: Any, machine: Machine) -> None:
    tried: List[int] = []

    def measure(text: str) -> StepCost:
        tried.append(crop_of(text))
        return StepCost(tried[-1] / 2**18 * 8, 10**9)

    data = make_data([(1024, 1024)], [[60]])
    plan = make_plan(data, machine, DATA_SET, minutes=30, measure=measure, num_test_images=4)
    assert len(tried) == 3 and tried[0] == 2**18 and tried[-1] < 2**16 * 1.1
    assert crop_of(plan.text) == tried[-1] and plan.iterations > 700


def test_memory_decides_before(make_data: Any, machine: Machine) -> None:
    """8 GB, of which nine tenths may be taken."""

    def measure(text: str) -> StepCost:
        solver = yaml.safe_load(text)["SOLVER"]
        if "ACTIVATION_CHECKPOINTING" not in solver:
            raise MemoryError
        return StepCost(1.0, int(7.5e9) // solver.get("ACCUMULATION_STEPS", 1))

    data = make_data([(1024, 1024)], [[60]])
    plan = make_plan(data, machine, DATA_SET, minutes=30, measure=measure, num_test_images=4)
    solver = yaml.safe_load(plan.text)["SOLVER"]
    assert solver["ACTIVATION_CHECKPOINTING"] is True and solver["ACCUMULATION_STEPS"] == 2
    assert crop_of(plan.text) == 2**18
    with pytest.raises(MemoryError, match="does not fit into 8.0 GB"):
        make_plan(
            data,
            machine,
            DATA_SET,
            minutes=30,
            measure=lambda text: StepCost(1.0, 10**10),
            num_test_images=4,
        )


def test_without_objects_there_is_no_instance_head_to_plan(
    make_data: Any, machine: Machine
) -> None:
    plan = make_plan(
        make_data([(64, 64)], [[]]),
        machine,
        DATA_SET,
        minutes=1,
        measure=lambda text: StepCost(0.1, 1),
        num_test_images=4,
    )
    assert "NUM_GRIDS" not in plan.text and "DETECTIONS_PER_IMAGE" not in plan.text


def test_the_network_is_that_of_the_shipped_configs(project_root: Any, machine: Machine) -> None:
    base, own = get_cfg(), get_cfg()
    for cfg in (base, own):
        add_effps_solo_config(cfg)
    load_config_file(base, str(project_root / "configs" / "Base-EffPS-Lite0.yaml"))
    fast = Machine("cpu", "a processor", 2, 1e9, fast_bf16=True)
    assert not any("AMP" in choice.key for choice in network_choices(machine))
    assert {c.key: c.value for c in network_choices(fast)}["SOLVER.AMP.PRECISION"] == "bf16"
    for choice in network_choices(machine):
        own.merge_from_list([choice.key, choice.value])
    # What a plan decides from the data and the machine.
    for cfg in (base, own):
        cfg.MODEL.PANOPTIC_FUSION.SCORE_THRESH = 0.2
        cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.WARMUP_ITERS = 0, 30
    assert own == base


def test_yaml() -> None:
    choices = [
        Choice("A.B.C", (1, 2), "First.\nSecond: 'quoted'."),
        Choice("A.B.D", ["x", 2.5, None]),
        Choice("A.E", "text: with a colon", "long " * 40),
        Choice("A.B.C", True, "Later."),
    ]
    text = as_yaml(choices, "Title")
    assert yaml.safe_load(text) == {
        "A": {"B": {"C": True, "D": ["x", 2.5, None]}, "E": "text: with a colon"}
    }
    assert text.startswith("# Title\nA:\n  B:\n    # Later.\n    C: true\n")
    assert max(map(len, text.splitlines())) <= 110
