"""What the web page does: limits, pictures, clicks, downloads."""

import os
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pytest
from PIL import Image

from effps_solo.app.session import (
    SECONDS_OF_FILES,
    Limits,
    Session,
    check_upload,
    describe,
    picture,
    segment_at,
    table,
)
from effps_solo.inference.load import PanopticModel
from effps_solo.inference.result import PanopticResult
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import UserError


class Halves:
    """A car on the left, as sure as the threshold of the call, road on the right."""

    image_format = "RGB"
    confidence_threshold = 0.5
    classes = (
        PanopticClass("car", True, 26, (0, 0, 9)),
        PanopticClass("road", False, 7, (9, 0, 0)),
    )

    def panoptic(
        self, image: np.ndarray, confidence_threshold: Optional[float] = None
    ) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
        ids = np.full(image.shape[:2], 2)
        ids[:, : ids.shape[1] // 2] = 1
        ids[0] = 0
        car = {"id": 1, "category_id": 0, "isthing": True, "score": confidence_threshold}
        return ids, [car, {"id": 2, "category_id": 1, "isthing": False, "score": 0.1}]


def save(path: Path, size: Tuple[int, int] = (60, 40)) -> str:
    Image.new("RGB", size, (90, 100, 110)).save(path)
    return str(path)


def predict(path: str, *thresholds: float) -> List[PanopticResult]:
    models = {str(k): PanopticModel(Halves()) for k in range(2)}
    return [r for t in thresholds for r in Session(models, Limits()).predict(path, t)]


def test_every_model_with_the_threshold(tmp_path: Path) -> None:
    results = predict(save(tmp_path / "a.png"), 0.25, 0.75)
    assert [r.segments[0].score for r in results] == [0.25, 0.25, 0.75, 0.75]


def test_a_session_leaves_the_models_as_they_are(tmp_path: Path) -> None:
    model = PanopticModel(Halves())
    one, other = Session({"a": model}, Limits()), Session({"b": model}, Limits())
    path = save(tmp_path / "a.png")
    (first,), (second,) = one.predict(path, 0.25), other.predict(path, 0.75)
    assert (first.segments[0].score, second.segments[0].score) == (0.25, 0.75)
    assert model.confidence_threshold == 0.5


def test_clicks(tmp_path: Path) -> None:
    result, _ = predict(save(tmp_path / "a.png"), 0.5)
    car, road = segment_at(result, 10, 20), segment_at(result, 45.7, 39.2)
    assert car is not None and road is not None and (car.category, road.category) == ("car", "road")
    assert (
        describe(car)
        == "**car** (an object), score 0.50, 1,170 pixels, in the box 30 x 39 at (0, 1)"
    )
    for x, y in ((10, 0), (10, 40), (10, 55), (60, 3)):  # void, the legend below, outside
        assert segment_at(result, x, y) is None
    assert describe(None) == "Nothing was found here."


def test_clicks_on_a_picture_that_was_shrunk(tmp_path: Path) -> None:
    result, _ = predict(save(tmp_path / "wide.png", (4096, 100)), 0.5)
    assert picture(result, 0.5, labels=False).shape == (50, 2048, 3)
    left, right = segment_at(result, 1000, 40), segment_at(result, 1040, 40)
    assert left is not None and right is not None and (left.id, right.id) == (1, 2)


def test_table_and_files(tmp_path: Path) -> None:
    results = predict(save(tmp_path / "a.png"), 0.5)
    assert table(results[0]) == [["car", "thing", 0.5, 1170], ["road", "stuff", 0.1, 1170]]
    session = Session({}, Limits())
    paths = [Path(path) for path in session.downloads(results, ["a_1", "a_2"])]
    assert len(paths) == 6 and all(path.is_file() for path in paths)
    assert [path.name for path in paths[:2]] == ["a_1_overlay.png", "a_1_panoptic.png"]


def test_old_files_are_removed(tmp_path: Path) -> None:
    results = predict(save(tmp_path / "a.png"), 0.5)
    session = Session({}, Limits())
    old, young = (Path(session.downloads(results, ["a"])[0]).parent for _ in range(2))
    an_hour_ago = time.time() - SECONDS_OF_FILES - 1
    os.utime(old, (an_hour_ago, an_hour_ago))
    session.downloads(results, ["a"])
    assert not old.exists() and young.exists()
    old.symlink_to("what another call has just removed")
    assert len(session.downloads(results, ["a"])) == 3
    del session
    assert not young.exists()


@pytest.mark.parametrize(
    "limits, message",
    [
        (Limits(megapixels=0.002), "a.png has 60x40 pixels, 0 million; at most 0.002 million"),
        (Limits(megabytes=0.00001), "a.png has 0.0 MB; at most 1e-05 are allowed"),
    ],
)
def test_limits(tmp_path: Path, limits: Limits, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_upload(save(tmp_path / "a.png"), limits)
    check_upload(save(tmp_path / "a.png"), Limits())


def test_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="^a.png cannot be read as an image$"):
        check_upload(str(tmp_path / "a.png"), Limits())
