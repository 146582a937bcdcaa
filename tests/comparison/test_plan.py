"""The table of a comparison: the runs that it asks for, and every mistake in it."""

from pathlib import Path
from typing import Any, Dict

import pytest
import yaml

from effps_solo.comparison.plan import Run, choose_runs, folder_name, read_table
from effps_solo.utils.errors import ConfigError


def test_runs_of_a_table(table: Path, tmp_path: Path) -> None:
    plan = read_table(table)
    assert plan.methods == ("New head", "R-CNN")
    assert plan.seeds == {"cells": (1, 2), "Old Town": (7,)}
    names = [
        "cells/new_head/seed1",
        "cells/rcnn/seed1",
        "cells/new_head/seed2",
        "cells/rcnn/seed2",
        "old_town/new_head/seed7",
        "old_town/rcnn/seed7",
    ]
    assert [run.name for run in plan.runs] == names
    assert plan.runs[3] == Run("cells", "R-CNN", 2, tmp_path / "cells" / "rcnn.yaml")
    assert plan.runs[4].opts == ("SOLVER.MAX_ITER", "30", "INPUT.CROP_SIZE", "[64, 96]")


def test_the_table_of_the_project(project_root: Path) -> None:
    plan = read_table(project_root / "configs" / "comparison.yaml")
    assert len(plan.methods) == 3 and len(plan.runs) == 3 * 7
    assert plan.seeds == {
        "facades": (1, 2),
        "nuclei": (1, 2),
        "pedestrian_zone": (1, 2),
        "quickstart": (1,),
    }
    folders = {run.name.split("/")[1] for run in plan.runs}
    assert folders == {"solov2", "mask_rcnn", "panoptic_fpn"}


def test_choice_of_runs(table: Path) -> None:
    plan = read_table(table)
    assert choose_runs(plan, []) == list(plan.runs)
    chosen = choose_runs(plan, ["*/seed2", "old_town/*"])
    assert chosen == [plan.runs[2], plan.runs[3], plan.runs[4], plan.runs[5]]
    with pytest.raises(ConfigError, match=r"'town/\*' fits no run; there are cells/new_head/seed1"):
        choose_runs(plan, ["cells/*", "town/*"])


@pytest.mark.parametrize(
    "name, folder",
    [("SOLOv2", "solov2"), ("Mask R-CNN", "mask_rcnn"), ("a/b: c", "a_b_c"), ("v1.2", "v1.2")],
)
def test_folder_names(name: str, folder: str) -> None:
    assert folder_name(name) == folder


WRONG: Dict[str, Any] = {
    "unknown key 'method'; did you mean 'methods'": lambda t: t.update(method={}),
    "unknown key 'extra'; there are methods, data sets": lambda t: t.update(extra=1),
    "lacks the key 'data sets'": lambda t: t.pop("data sets"),
    "'methods' is {}; list NAME: VALUE": lambda t: t.update(methods={}),
    "'data sets' is ['cells']": lambda t: t.update({"data sets": ["cells"]}),
    "method 'R-CNN' is 3; name a config": lambda t: t["methods"].update({"R-CNN": 3}),
    "'R-CNN' and 'rcnn' in 'methods' would share the folder 'rcnn'": (
        lambda t: t["methods"].update(rcnn="rcnn")
    ),
    "the name 5; a name needs letters": lambda t: t["methods"].update({5: "new"}),
    "the name '..'; a name needs letters": lambda t: t["methods"].update({"..": "new"}),
    "none.yaml' of method 'R-CNN' does not exist": (
        lambda t: t["methods"].update({"R-CNN": "none"})
    ),
    "data set 'cells' is None; give it 'configs'": lambda t: t["data sets"].update(cells=None),
    "data set 'cells' lacks the key 'seeds'": lambda t: t["data sets"]["cells"].pop("seeds"),
    "data set 'cells' has an unknown key 'seed'; did you mean 'seeds'": (
        lambda t: t["data sets"]["cells"].update(seed=1)
    ),
    "'configs' is ['cells']; name the folder": (
        lambda t: t["data sets"]["cells"].update(configs=["cells"])
    ),
    "'opts' is ['A', 1]; write {KEY: VALUE}": (
        lambda t: t["data sets"]["cells"].update(opts=["A", 1])
    ),
    "'opts' has 'SOLVER': {'MAX_ITER': 3}; write SECTION.KEY: VALUE": (
        lambda t: t["data sets"]["cells"].update(opts={"SOLVER": {"MAX_ITER": 3}})
    ),
    "'opts' sets SEED, which differs from run to run": (
        lambda t: t["data sets"]["cells"].update(opts={"SEED": 3})
    ),
    **{
        f"'seeds' is {seeds!r}; list different numbers": (
            lambda t, seeds=seeds: t["data sets"]["cells"].update(seeds=seeds)
        )
        for seeds in ([], 3, [1, 1], [-1], ["1"], [True], [1.5])
    },
}


@pytest.mark.parametrize("message", WRONG)
def test_mistakes(table: Path, message: str) -> None:
    content = yaml.safe_load(table.read_text())
    WRONG[message](content)
    table.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError) as error:
        read_table(table)
    assert message in str(error.value) and str(table.parent) in str(error.value)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "does not exist; name one with --table"),
        (b"", "holds no 'methods' and 'data sets'"),
        (b"methods: [", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
        (b"!!python/object/apply:os.system [true]", "cannot be read as YAML"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "table.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_table(path)
