"""What is measured in annotations."""

from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest

from effps_solo.planning.fingerprint import count_touching, measure_image, take_fingerprint
from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.structures.panoptic_png import encode_segment_ids

# Things have the contiguous ids 1 and 3.
LABEL_SPACE = PanopticLabelSpace({10: 1, 30: 3}, {20: 0, 40: 2})
NAMES = ["road", "car", "sky", "bus"]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """(name, (H, W) ids, id -> contiguous class, crowds) -> a dataset dict."""

    def run(name: str, ids: np.ndarray, classes: Dict[int, int], crowds: Any = ()) -> Any:
        path = tmp_path / f"{name}.png"
        path.write_bytes(encode_segment_ids(ids))
        info = [
            {"id": i, "category_id": c, "iscrowd": int(i in crowds)} for i, c in classes.items()
        ]
        return {"pan_seg_file_name": str(path), "segments_info": info}

    return run


def test_an_image_worked_out_by_hand(write: Any) -> None:
    ids = np.zeros((4, 8), dtype=np.int32)  # the last column stays void
    ids[:2, :7] = 7
    ids[2:, :7] = 8
    ids[1:3, 0:2], ids[1:3, 2:4], ids[0, 6], ids[3, 6] = 300, 301, 302, 303
    classes = {7: 2, 8: 0, 300: 1, 301: 1, 302: 3, 303: 1, 304: 1}  # 304 has no pixel
    facts = measure_image(LABEL_SPACE, write("a", ids, classes, crowds=[303]))
    assert facts.size == (4, 8)
    assert facts.boxes.tolist() == [[0, 1, 2, 3], [2, 1, 4, 3], [6, 0, 7, 1]]
    assert facts.centers.tolist() == [[0.5, 1.5], [2.5, 1.5], [6, 0]]
    assert facts.areas.tolist() == [4, 4, 1] and facts.classes.tolist() == [0, 0, 1]
    assert facts.sides.tolist() == [2, 2, 1] and facts.num_touching == 2
    assert facts.class_pixels.tolist() == [9, 9, 9, 1]
    assert sorted(facts.stuff_areas * 32) == [9, 9]


def test_an_empty_image(write: Any) -> None:
    facts = measure_image(LABEL_SPACE, write("a", np.zeros((3, 5), dtype=np.int32), {}))
    assert facts.boxes.shape == (0, 4) and facts.centers.shape == (0, 2) and len(facts.sides) == 0
    assert facts.num_touching == 0 and not facts.class_pixels.any() and len(facts.stuff_areas) == 0


def test_touching() -> None:
    objects = np.array([[1, 1, 2, 0, 4], [0, 3, 2, 0, 4], [0, 3, 0, 5, 5]])
    same, different = np.array([-1, 0, 0, 0, 0, 0]), np.array([-1, 0, 1, 2, 3, 3])
    assert count_touching(objects, same) == 5
    assert count_touching(objects, different) == 2
    assert count_touching(np.zeros((2, 2), dtype=int), np.array([-1])) == 0


def test_a_data_set(write: Any) -> None:
    first = np.full((4, 4), 5, dtype=np.int32)
    first[:2, :2], first[0, 3] = 6, 7
    records = [
        write("a", first, {5: 0, 6: 1, 7: 1}),
        write("b", np.full((4, 12), 9, dtype=np.int32), {9: 2, 10: 3}, crowds=[10]),
    ]
    data = take_fingerprint(records, NAMES, LABEL_SPACE)
    assert data.num_images == 2 and data.sizes.tolist() == [[4, 4], [4, 12]]
    assert data.num_objects.tolist() == [2, 0] and data.num_images_of_class.tolist() == [1, 1, 1, 1]
    assert sorted(data.sides.tolist()) == [1, 2]
    assert (data.class_share * 64).tolist() == [11, 5, 48, 0] and data.touching_share == 0
