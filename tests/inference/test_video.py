"""Videos in, videos out, one frame after the other."""

import json
import resource
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import cv2
import numpy as np
import pytest

from effps_solo.inference import video
from effps_solo.inference.load import PanopticModel
from effps_solo.inference.video import Frames, predict_video
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import UserError


class MovingCar:
    """A car that moves 2 pixels a frame on a road, with an id that changes all the time."""

    image_format = "RGB"
    confidence_threshold = 0.0
    classes = (
        PanopticClass("car", True, 26, (0, 0, 142)),
        PanopticClass("road", False, 7, (128, 64, 128)),
    )

    def __init__(self) -> None:
        self.count = 0

    def panoptic(
        self, image: np.ndarray, confidence_threshold: Optional[float] = None
    ) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
        ids = np.full(image.shape[:2], 1)
        number = 2 + self.count % 7
        ids[20:40, 2 * self.count : 2 * self.count + 30] = number
        self.count += 1
        car = {"id": number, "category_id": 0, "isthing": True, "score": 0.9}
        return ids, [{"id": 1, "category_id": 1, "isthing": False, "score": 1.0}, car]


def write_video(path: Path, num_frames: int, size: Tuple[int, int] = (64, 96)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (size[1], size[0]))
    assert writer.isOpened()
    for number in range(num_frames):
        writer.write(np.full((*size, 3), 8 * number % 256, dtype=np.uint8))
    writer.release()
    return path


def test_colours_stay_with_their_objects(tmp_path: Path) -> None:
    path = write_video(tmp_path / "street.mp4", 12)
    assert (
        predict_video(PanopticModel(MovingCar()), path, tmp_path, labels=False, save_json=True)
        == 12
    )
    written = Frames(tmp_path / "street_overlay.mp4")
    assert (written.fps, written.total) == (10, 12)
    pictures = list(written)
    assert pictures[0].shape == (64, 96, 3)
    cars = [p[25:35, 2 * n + 8 : 2 * n + 22].mean(axis=(0, 1)) for n, p in enumerate(pictures)]
    gain = np.array(
        [cars[n] - pictures[n][5, 60] for n in range(12)]
    )  # behind it, it gets brighter
    assert np.abs(gain - gain[0]).max() < 12, gain
    lines = (tmp_path / "street_segments.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["frame"] for entry in entries] == list(range(12)) and entries[3]["seconds"] == 0.3
    tracks = {s["category"]: s["track"] for entry in entries for s in entry["segments"]}
    assert tracks == {"road": None, "car": 1}
    assert not (tmp_path / "street_overlay.part.mp4").exists()


def test_only_so_many_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "street.mp4", 12)
    assert predict_video(PanopticModel(MovingCar()), path, tmp_path, max_frames=5) == 5
    assert len(list(Frames(tmp_path / "street_overlay.mp4"))) == 5
    assert not (tmp_path / "street_segments.jsonl").exists()


def test_an_interruption_leaves_the_frames_so_far(tmp_path: Path) -> None:
    class Stopped(MovingCar):
        def panoptic(
            self, image: np.ndarray, confidence_threshold: Optional[float] = None
        ) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
            if self.count == 4:
                raise KeyboardInterrupt
            return super().panoptic(image)

    path = write_video(tmp_path / "street.mp4", 12)
    with pytest.raises(KeyboardInterrupt):
        predict_video(PanopticModel(Stopped()), path, tmp_path)
    assert len(list(Frames(tmp_path / "street_overlay.part.mp4"))) == 4
    assert not (tmp_path / "street_overlay.mp4").exists()


def test_a_video_that_was_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "street.mp4", 12)

    class Cut(Frames):
        def __iter__(self) -> Iterator[np.ndarray]:
            yield from islice(super().__iter__(), 7)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "Frames", Cut)
        assert predict_video(PanopticModel(MovingCar()), path, tmp_path, name="other") == 7
    assert "only 7 of 12 frames can be read" in caplog.text
    assert (tmp_path / "other_overlay.mp4").is_file()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", 300, size=(512, 1024))
    model = PanopticModel(MovingCar())
    predict_video(model, path, tmp_path, max_frames=30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = PanopticModel(MovingCar())
    assert predict_video(model, path, tmp_path) == 300
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert growth < 30, f"{growth:.0f} MB"  # a frame has 1.5 MB


@pytest.mark.parametrize(
    "content, message",
    [(None, "street.mp4 does not exist"), (b"no video", "street.mp4 cannot be opened as a video")],
)
def test_what_is_no_video(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "street.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        predict_video(PanopticModel(MovingCar()), path, tmp_path)


def test_a_camera_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="camera 93 cannot be opened"):
        predict_video(PanopticModel(MovingCar()), 93, tmp_path)
