"""Labels against the orientation of their image."""

import numpy as np
import pytest

from effps_solo.data.checks.orientation import edge_strength, fits_turned


def scene() -> np.ndarray:
    ids = np.zeros((20, 30), dtype=np.int32)
    ids[2:8, 3:9], ids[12:, 10:28] = 1, 2
    return ids


def test_edge_strength_by_hand() -> None:
    grey = np.array([[0, 0, 90, 90], [0, 0, 90, 90]], dtype=np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    assert edge_strength(rgb, np.array([[1, 1, 2, 2], [1, 1, 2, 2]])) == 90
    assert edge_strength(rgb, np.array([[1, 2, 2, 2], [1, 2, 2, 2]])) == 0
    assert edge_strength(rgb, np.array([[1, 1, 2, 2], [3, 3, 4, 4]])) == pytest.approx(180 / 6)
    assert edge_strength(rgb, np.zeros((2, 4), int)) == 0


@pytest.mark.parametrize("turn", range(2, 9))
def test_turned_labels_are_told_from_labels_as_they_are(turn: int) -> None:
    rng = np.random.default_rng(turn)
    ids = scene()[:20, :20] if turn >= 5 else scene()
    rgb = np.array([[30, 60, 20], [200, 180, 90], [90, 20, 160]], dtype=np.uint8)[ids]
    rgb = (rgb + rng.integers(0, 20, rgb.shape)).astype(np.uint8)
    assert not fits_turned(rgb, ids, turn)
    back = {6: 8, 8: 6}.get(turn, turn)  # the other turns undo themselves
    turned = {2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: np.transpose,
              6: lambda x: np.rot90(x, -1), 7: lambda x: np.rot90(x.T, 2), 8: np.rot90}  # fmt: skip
    assert fits_turned(rgb, np.ascontiguousarray(turned[back](ids)), turn)


def test_nothing_speaks_against_labels_without_borders() -> None:
    assert not fits_turned(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int32), 3)
