"""Segment ids and the colours that hold them."""

from pathlib import Path

import numpy as np
from PIL import Image

from effps_solo.panoptic_png import ids_to_rgb, read_segment_ids


def test_by_hand() -> None:
    ids = np.array([[0, 255, 256, 65536 * 3 + 256 * 2 + 1]])
    assert ids_to_rgb(ids).tolist() == [[[0, 0, 0], [255, 0, 0], [0, 1, 0], [1, 2, 3]]]


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 1 << 24, (7, 9))
    Image.fromarray(ids_to_rgb(ids)).save(tmp_path / "ids.png")
    read = read_segment_ids(str(tmp_path / "ids.png"))
    assert read.dtype == np.int32 and (read == ids).all()
