"""Repaired JSON files are clean, and nothing but what is provable changes."""

import json
from pathlib import Path
from typing import Any, Dict

import pytest
from PIL import Image

from effps_solo.data.checks.findings import Finding
from effps_solo.data.checks.plan import PanopticSource
from effps_solo.data.checks.repair import repair_json
from effps_solo.data.checks.run import check_datasets
from effps_solo.utils.errors import UserError


def damage(content: Dict[str, Any]) -> None:
    """Everything that can be repaired, in one image or another."""
    first, second, third = (a["segments_info"] for a in content["annotations"])
    first[0].update(area=1, bbox=[1, 2, 3, 4])
    first[1].pop("bbox")
    first.append({**first[2], "area": 5})  # a copy once its area is right
    second[0].pop("iscrowd")
    second.append({"id": 5000, "category_id": 3, "iscrowd": 0, "area": 0})
    third.append(third[1])
    content["images"][2].update(height=1000)
    content["images"].append(content["images"][0])
    content["annotations"].append(content["annotations"][2])


def repair(mini: Any, output: Path) -> Dict[str, int]:
    (checked,) = check_datasets(mini.sources()[1:])
    return repair_json(checked, str(output))


def test_the_repaired_json_is_clean_and_the_old_one_stays(mini: Any, tmp_path: Path) -> None:
    clean = json.loads(mini.json().read_text())
    mini.edit(damage)
    before = mini.json().read_bytes()
    output = tmp_path / "new" / "fixed.json"
    changes = repair(mini, output)
    assert mini.json().read_bytes() == before
    assert json.loads(output.read_text()) == clean
    assert changes == {
        "area": 2,
        "bbox": 2,
        "iscrowd": 1,
        "empty segment": 1,
        "copy of a segment": 3,  # one of them in the copy of an annotation
        "image size": 1,
        "copy in 'images'": 1,
        "copy in 'annotations'": 1,
    }
    source = mini.sources()[1]
    fixed = PanopticSource("fixed", source.images, source.panoptic_png, str(output))
    assert check_datasets([fixed])[0].findings == []
    assert list(output.parent.iterdir()) == [output]


def test_a_clean_json_does_not_change(mini: Any, tmp_path: Path) -> None:
    assert repair(mini, tmp_path / "fixed.json") == {}
    content = json.loads((tmp_path / "fixed.json").read_text())
    assert content == json.loads(mini.json().read_text())


def test_what_needs_a_person_stays(mini: Any, tmp_path: Path) -> None:
    def change(content: Dict[str, Any]) -> None:
        segments = content["annotations"][0]["segments_info"]
        segments[0].update(category_id=55)
        segments.append({"id": 5000, "category_id": 3, "iscrowd": 0, "area": 7})
        content["annotations"][1]["segments_info"][0].update(area=1)

    mini.edit(change)
    png = Image.open(mini.png(1))
    png.resize((24, 20), Image.Resampling.NEAREST).save(mini.png(1))  # whose areas mean nothing
    before = json.loads(mini.json().read_text())
    assert repair(mini, tmp_path / "fixed.json") == {}
    assert json.loads((tmp_path / "fixed.json").read_text()) == before


def test_nothing_is_overwritten(mini: Any, tmp_path: Path) -> None:
    output = tmp_path / "fixed.json"
    output.write_text("mine")
    with pytest.raises(UserError, match="fixed.json' exists already"):
        repair(mini, output)
    assert output.read_text() == "mine"
    with pytest.raises(UserError, match="exists already"):
        repair(mini, mini.json())


def test_a_folder_that_cannot_be_written(mini: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file"):
        repair(mini, tmp_path / "file" / "fixed.json")


def test_entries_that_cannot_be_read_stay(mini: Any, tmp_path: Path) -> None:
    def change(content: Dict[str, Any]) -> None:
        content["annotations"][0]["segments_info"] += [[1], {"id": [2], "iscrowd": 0}]
        content["images"][0]["file_name"] = ["x"]

    mini.edit(change)
    assert repair(mini, tmp_path / "fixed.json") == {}


def test_findings_know_their_level() -> None:
    assert Finding("wrong-area", "x", "y").level == "error"
