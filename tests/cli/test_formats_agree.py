"""The same scenes in every format become the same data set. A format is a line in WRITERS."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Set, Tuple

import numpy as np
import pytest
from PIL import Image

from effps_solo.__main__ import main
from effps_solo.structures.panoptic_png import read_segment_ids

SIZE = (48, 64)
STUFF = ("road", "sky")


class Region(NamedTuple):
    """A rectangle of pixels, rows and columns from and to; later and smaller ones lie on top."""

    label: str
    rows: Tuple[int, int]
    columns: Tuple[int, int]

    @property
    def inside(self) -> List[List[int]]:
        """Corners whose outline belongs to it."""
        (y0, y1), (x0, x1) = self.rows, self.columns
        return [[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]]

    @property
    def around(self) -> List[List[int]]:
        """Corners of its pixels, which are squares."""
        (y0, y1), (x0, x1) = self.rows, self.columns
        return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]

    @property
    def mask(self) -> np.ndarray:
        mask = np.zeros(SIZE, dtype=bool)
        mask[slice(*self.rows), slice(*self.columns)] = True
        return mask


SCENES: Dict[str, List[Region]] = {
    "one": [
        Region("sky", (0, 20), (0, 64)),
        Region("road", (20, 48), (0, 64)),
        Region("car", (15, 40), (5, 35)),
        Region("car", (30, 40), (30, 45)),
        Region("person", (22, 38), (10, 14)),
    ],
    "two": [Region("road", (10, 48), (3, 60)), Region("car", (12, 20), (6, 30))],
    "three": [Region("sky", (0, 48), (0, 64))],
}

Segments = Set[Tuple[str, bytes]]


def expected(regions: List[Region]) -> Segments:
    """Class and pixels of the segments, painted one after the other."""
    top = np.full(SIZE, -1)
    for k, region in enumerate(regions):
        top[region.mask] = k
    found: Segments = set()
    for k, region in enumerate(regions):
        same = [k] if region.label not in STUFF else _indices(regions, region.label)
        found.add((region.label, np.isin(top, same).tobytes()))
    return found


def _indices(regions: List[Region], label: str) -> List[int]:
    return [k for k, region in enumerate(regions) if region.label == label]


def imported(folder: Path) -> Dict[str, Segments]:
    content = json.loads((folder / "panoptic_train.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    found = {}
    for image, annotation in zip(content["images"], content["annotations"]):
        ids = read_segment_ids(str(folder / "panoptic_train" / annotation["file_name"]))
        found[Path(image["file_name"]).stem] = {
            (names[s["category_id"]], (ids == s["id"]).tobytes())
            for s in annotation["segments_info"]
            if not s["iscrowd"]
        }
    return found


def write_images(folder: Path, suffix: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCENES:
        Image.new("RGB", SIZE[::-1]).save(folder / f"{name}{suffix}.png")


def runs(mask: np.ndarray) -> Dict[str, Any]:
    """Lengths of the runs of 0 and 1 by turns, columns first."""
    flat = mask.T.ravel().tolist()
    counts, value = [0], False
    for pixel in flat:
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"counts": counts, "size": list(SIZE)}


def write_coco(folder: Path, segmentation: Callable[[Region], Any], crowd: int = 0) -> None:
    write_images(folder / "images")
    labels = sorted({region.label for regions in SCENES.values() for region in regions})
    content: Dict[str, Any] = {"images": [], "annotations": []}
    content["categories"] = [{"id": k, "name": label} for k, label in enumerate(labels, 1)]
    for image_id, (name, regions) in enumerate(SCENES.items()):
        size = {"height": SIZE[0], "width": SIZE[1]}
        content["images"].append({"id": image_id, "file_name": f"images/{name}.png", **size})
        for region in reversed(regions):
            content["annotations"].append(
                {
                    "id": len(content["annotations"]),
                    "image_id": image_id,
                    "category_id": labels.index(region.label) + 1,
                    "segmentation": segmentation(region),
                    "iscrowd": crowd,
                }
            )
    (folder / "instances.json").write_text(json.dumps(content))


def write_roboflow(folder: Path) -> None:
    write_coco(folder, lambda region: [np.ravel(region.around).tolist()])


def write_cvat_brush(folder: Path) -> None:
    write_coco(folder, lambda region: runs(region.mask), crowd=1)


def write_labelme(folder: Path) -> None:
    write_images(folder)
    for name, regions in SCENES.items():
        shapes = [{"label": region.label, "points": region.inside} for region in regions]
        content = {"shapes": shapes, "imagePath": f"{name}.png", "imageHeight": SIZE[0]}
        (folder / f"{name}.json").write_text(json.dumps({**content, "imageWidth": SIZE[1]}))


def write_cityscapes(folder: Path) -> None:
    write_images(folder, "_leftImg8bit")
    for name, regions in SCENES.items():
        objects = [{"label": region.label, "polygon": region.inside} for region in regions]
        content = {"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": objects}
        (folder / f"{name}_gtFine_polygons.json").write_text(json.dumps(content))


Writer = Callable[[Path], None]
WRITERS: Dict[str, Tuple[Writer, List[str]]] = {
    "roboflow": (write_roboflow, ["--from", "coco-instances"]),
    "cvat-brush": (write_cvat_brush, ["--from", "coco-instances", "--crowds-as-objects"]),
    "labelme": (write_labelme, ["--from", "labelme"]),
    "cityscapes": (write_cityscapes, ["--from", "cityscapes-polygons"]),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("named", [True, False], ids=["named", "recognised"])
def test_a_format(tmp_path: Path, name: str, named: bool) -> None:
    write, words = WRITERS[name]
    write(tmp_path / "in")
    where = ["--annotations", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    words = words if named else words[2:]
    assert main(["import-dataset", *where, *words, "--stuff", *STUFF, "--workers", "1"]) == 0
    found = imported(tmp_path / "out")
    assert {key.removesuffix("_leftImg8bit"): segments for key, segments in found.items()} == {
        key: expected(regions) for key, regions in SCENES.items()
    }
