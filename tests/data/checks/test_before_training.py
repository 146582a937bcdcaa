"""What is wrong with the test data is told before the training, and in a few seconds."""

import json
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import numpy as np
import pytest
from PIL import Image

from effps_solo.config import load_config
from effps_solo.data.checks import before_training
from effps_solo.data.checks.before_training import check_test_sets
from effps_solo.data.datasets.files import DatasetError

Change = Callable[[Dict[str, Any]], Any]


def check(config: Path, root: Path, change: Optional[Change] = None, *words: str) -> None:
    """Check after a change of the JSON of val."""
    path = root / "panoptic_val.json"
    content = json.loads(path.read_text())
    if change:
        change(content)
    path.write_text(json.dumps(content))
    check_test_sets(load_config(str(config), list(words)))


def empty(content: Dict[str, Any]) -> None:
    content.update(images=[], annotations=[])


def one_less(content: Dict[str, Any]) -> None:
    del content["images"][1], content["annotations"][1]


def test_nothing_is_wrong(tiny_config: Path, tiny_set: Path, caplog: Any) -> None:
    check(tiny_config, tiny_set)
    assert not [r for r in caplog.records if "DATASETS.TEST" in r.getMessage()]


@pytest.mark.parametrize(
    "change, message",
    [
        (empty, "tiny_val: panoptic_val.json lists no image; list images, or leave the split out"),
        (one_less, "holds 1.png, which .*panoptic_val.json does not list"),
    ],
)
def test_lists(tiny_config: Path, tiny_set: Path, change: Change, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        check(tiny_config, tiny_set, change)
    check_test_sets(load_config(str(tiny_config), ["DATASETS.TEST", "()"]))  # nothing is evaluated


def test_files(tiny_config: Path, tiny_set: Path) -> None:
    png = tiny_set / "panoptic_val" / "1.png"
    Image.open(png).resize((48, 32), Image.Resampling.NEAREST).save(png)
    with pytest.raises(DatasetError, match="tiny_val: 1.png .*one size.*check-dataset"):
        check(tiny_config, tiny_set)
    png.write_bytes(b"no PNG")
    with pytest.raises(DatasetError, match="1.png.*copy or export the PNG again"):
        check(tiny_config, tiny_set)


def test_what_makes_figures_wrong_is_a_warning(
    tiny_config: Path, tiny_set: Path, caplog: Any
) -> None:
    path = tiny_set / "panoptic_val" / "0.png"
    pixels = np.array(Image.open(path))
    pixels[:4, :4] = (9, 9, 0)
    Image.fromarray(pixels).save(path)
    check(tiny_config, tiny_set)
    assert "DATASETS.TEST: tiny_val: 0.png" in caplog.text and "more errors" in caplog.text


def test_the_time_is_bounded(
    tiny_config: Path, tiny_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file of a large set is enough where each takes long."""
    seen = []
    monkeypatch.setattr(before_training, "MAX_SECONDS", 0.0)
    original = before_training.check_image
    monkeypatch.setattr(
        before_training, "check_image", lambda *a: [seen.append(a), original(*a)][1]
    )
    check(tiny_config, tiny_set)
    assert len(seen) == 1


def test_a_folder_that_is_not_there(tiny_config: Path, tiny_set: Path) -> None:
    shutil.rmtree(tiny_set / "panoptic_val")
    with pytest.raises(DatasetError, match="panoptic_val"):
        check(tiny_config, tiny_set)
