"""A clean miniature of a data set, which tests damage in one place."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
from PIL import Image

from effps_solo.data.checks.plan import PanopticSource
from effps_solo.structures.panoptic_png import ids_to_rgb, read_segment_ids

Json = Dict[str, Any]
HEIGHT, WIDTH = 40, 48
CATEGORIES = [
    {"id": 21, "name": "road", "isthing": 0},
    {"id": 7, "name": "person", "isthing": 1},
    {"id": 90, "name": "sky", "isthing": 0},
    {"id": 3, "name": "car", "isthing": 1},
]
# Segment id -> category id, crowd, rows, columns; later ones lie over earlier ones. Rows 36 .. are void.
SEGMENTS = {
    300: (90, 0, slice(0, 20), slice(0, WIDTH)),
    7: (21, 0, slice(20, 36), slice(0, WIDTH)),
    65537: (3, 0, slice(8, 28), slice(2, 20)),
    26002: (7, 0, slice(10, 30), slice(24, 32)),
    255: (7, 1, slice(12, 26), slice(36, 46)),
}


def entry(ids: np.ndarray, segment_id: int, category_id: int, is_crowd: int = 0) -> Json:
    """A segment as the JSON has it, measured in the plainest way."""
    y, x = np.nonzero(ids == segment_id)
    box = [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()] if len(x) else [0] * 4
    return {
        "id": segment_id,
        "category_id": category_id,
        "iscrowd": is_crowd,
        "area": len(x),
        "bbox": [int(side) for side in box],
    }


class Miniature:
    """Splits "train" and "val" of three images each, below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for number, split in enumerate(("train", "val")):
            self._write_split(split, 10 * number)

    def _write_split(self, split: str, seed: int) -> None:
        (self.root / split).mkdir(parents=True)
        (self.root / f"panoptic_{split}").mkdir()
        content: Json = {"images": [], "annotations": [], "categories": CATEGORIES}
        for index in range(3):
            ids = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
            for segment_id, (_, _, rows, columns) in SEGMENTS.items():
                ids[rows, columns] = segment_id
            name = f"{split}_{index}"
            suffix = "jpg" if index == 2 else "png"
            self.write_image(self.root / split / f"{name}.{suffix}", seed + index)
            image = {"id": 5 * index, "file_name": f"{name}.{suffix}"}
            content["images"].append({**image, "height": HEIGHT, "width": WIDTH})
            info = [entry(ids, key, s[0], s[1]) for key, s in SEGMENTS.items()]
            content["annotations"].append(
                {"image_id": 5 * index, "file_name": f"{name}.png", "segments_info": info}
            )
            self.write_ids(split, index, ids)
        self.json(split).write_text(json.dumps(content))

    @staticmethod
    def write_image(path: Path, seed: int, size: Any = (WIDTH, HEIGHT)) -> None:
        """Coarse random blocks under fine noise."""
        rng = np.random.default_rng(seed)
        blocks = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        pixels = np.asarray(blocks.resize(size, Image.Resampling.NEAREST)).astype(int)
        noise = rng.integers(-9, 10, pixels.shape)
        Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(path)

    def json(self, split: str = "val") -> Path:
        return self.root / f"panoptic_{split}.json"

    def png(self, index: int = 0, split: str = "val") -> Path:
        return self.root / f"panoptic_{split}" / f"{split}_{index}.png"

    def image(self, index: int = 0, split: str = "val") -> Path:
        return self.root / split / f"{split}_{index}.png"

    def write_ids(self, split: str, index: int, ids: np.ndarray) -> None:
        Image.fromarray(ids_to_rgb(ids)).save(self.png(index, split))

    def edit(self, change: Callable[[Json], Any], split: str = "val") -> None:
        """Change the JSON of a split."""
        content = json.loads(self.json(split).read_text())
        change(content)
        self.json(split).write_text(json.dumps(content))

    def edit_segments(self, change: Callable[[List[Json]], Any], index: int = 0) -> None:
        """Change the segments of an image of "val"."""
        self.edit(lambda content: change(content["annotations"][index]["segments_info"]))

    def redraw(self, change: Callable[[np.ndarray], Any], segments: Json, index: int = 0) -> None:
        """Change the ids of an image of "val"; ``segments``: id -> category of what it shows then."""
        ids = read_segment_ids(str(self.png(index))).astype(np.int64)
        change(ids)
        self.write_ids("val", index, ids)
        info = [entry(ids, key, category) for key, category in segments.items()]
        self.edit(lambda c: c["annotations"][index].update(segments_info=info))

    def sources(self, **changes: Any) -> List[PanopticSource]:
        return [
            PanopticSource(
                f"mini_{split}",
                str(self.root / split),
                str(self.root / f"panoptic_{split}"),
                str(self.json(split)),
                **changes,
            )
            for split in ("train", "val")
        ]


@pytest.fixture
def mini(tmp_path: Path) -> Miniature:
    return Miniature(tmp_path / "mini")
