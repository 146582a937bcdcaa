"""The same scenes in every format become the same data set, but for the rounding of each format.

The masks that they are compared with are made here: a pixel belongs to a polygon that holds its middle.
"""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from PIL import Image

from effps_solo.__main__ import main
from effps_solo.structures.panoptic_png import read_segment_ids

SIZE = (96, 128)
COLORS = {"sky": (70, 130, 180), "wall": (102, 102, 156), "car": (0, 0, 142), "cat": (9, 80, 0)}
STUFF = ("sky", "wall")
SPLITS = {"train": ["a", "b"], "val": ["c"]}
Points = List[Tuple[float, float]]
Rings = List[Points]


class Piece(NamedTuple):
    """An annotation, of one or several polygons."""

    label: str
    rings: Rings

    @property
    def ring(self) -> Points:
        """All polygons as one, joined by points that come twice."""
        joined = list(self.rings[0])
        for ring in self.rings[1:]:
            joined += [joined[0], *ring, ring[0]]
        return joined


def star(rng: np.random.Generator, x: float, y: float, radius: float) -> Points:
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    radii = radius * rng.uniform(0.6, 1, 9)
    points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
    return [(px, py) for px, py in points.round(2).tolist()]


def scene(seed: int) -> List[Piece]:
    """Stuff, a wall with a hole, and things that cover each other; what is on top is smaller, and later."""
    rng = np.random.default_rng(seed)
    hole: Points = [(70.3, 40.2), (70.3, 60.7), (90.6, 60.7), (90.6, 40.2)]
    wall: Points = [(50.2, 30.4), (110.7, 30.4), (110.7, 70.3), (50.2, 70.3)]
    return [
        Piece("sky", [[(0, 0), (128, 0), (128, 45.5), (0, 38.25)]]),
        Piece("wall", [[*wall, wall[0], hole[0], *hole[1:], hole[0], wall[0]]]),
        Piece("car", [star(rng, 30, 60, 24)]),
        Piece("car", [star(rng, 45 + seed, 66, 16)]),
        Piece("cat", [star(rng, 100, 80, 9), star(rng, 118, 84, 7)]),
        Piece("cat", [star(rng, 82, 50, 8)]),
        Piece("car", [star(rng, 52, 70, 8)]),
    ]


SCENES = {name: scene(k) for k, name in enumerate("abc")}


def inside(ring: Points) -> np.ndarray:
    """(H, W): whether the middle of a pixel lies in a polygon, by the rays that cross it."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    mask = np.zeros(SIZE, dtype=bool)
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]]):
        if y0 != y1:
            crosses = ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
            mask ^= crosses
    return mask


def mask_of(piece: Piece) -> np.ndarray:
    mask: np.ndarray = np.any([inside(ring) for ring in piece.rings], axis=0)
    return mask


Segments = List[Tuple[str, np.ndarray]]


def expected(name: str) -> Segments:
    ids = np.zeros(SIZE, dtype=int)
    for k, piece in enumerate(SCENES[name], 1):
        ids[mask_of(piece)] = k
    return [(piece.label, ids == k) for k, piece in enumerate(SCENES[name], 1)]


def write_images(folder: Path, names: Sequence[str], suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (SIZE[1], SIZE[0]), (90, 90, 90)).save(folder / f"{name}{suffix}")


def save(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def flat(ring: Points) -> List[float]:
    return [value for point in ring for value in point]


def runs_of(pixels: np.ndarray) -> List[int]:
    counts, last = [0], False
    for value in pixels.tolist():
        if value != last:
            counts.append(0)
            last = value
        counts[-1] += 1
    return counts


def coco(names: Sequence[str], segmentation: Callable[[Piece], Any], **fields: Any) -> Any:
    categories = [{"id": 0, "name": "objects", "supercategory": "none"}]
    categories += [{"id": k, "name": name} for k, name in enumerate(COLORS, 1)]
    ids = {category["name"]: category["id"] for category in categories}
    size = {"height": SIZE[0], "width": SIZE[1]}
    images = [{"id": k, "file_name": f"{name}.jpg", **size} for k, name in enumerate(names)]
    annotations: List[Any] = []
    for k, name in enumerate(names):
        for piece in SCENES[name]:
            own = {"id": len(annotations), "image_id": k, "category_id": ids[piece.label], **fields}
            annotations.append({**own, "segmentation": segmentation(piece)})
    return {"images": images, "annotations": annotations, "categories": categories}


def roboflow_coco(folder: Path) -> None:
    for split, names in SPLITS.items():
        own = folder / {"val": "valid"}.get(split, split)
        write_images(own, names)
        polygons = coco(names, lambda piece: list(map(flat, piece.rings)), iscrowd=0)
        save(own / "_annotations.coco.json", polygons)


def cvat_coco(folder: Path) -> None:
    write_images(folder / "images", "abc")
    for split, names in SPLITS.items():
        polygons = coco(names, lambda piece: list(map(flat, piece.rings)), iscrowd=0)
        save(folder / "annotations" / f"instances_{split.capitalize()}.json", polygons)


def cvat_coco_brush(folder: Path) -> None:
    def rle(piece: Piece) -> Any:
        return {"counts": runs_of(mask_of(piece).T.ravel()), "size": list(SIZE)}

    write_images(folder / "images", "abc")
    for split, names in SPLITS.items():
        masks = coco(names, rle, iscrowd=1)
        save(folder / "annotations" / f"instances_{split.capitalize()}.json", masks)


def labelme(folder: Path) -> None:
    for split, names in SPLITS.items():
        write_images(folder / split, names)
        for name in names:
            shapes = [
                {"label": piece.label, "points": ring, "group_id": k, "shape_type": "polygon"}
                for k, piece in enumerate(SCENES[name])
                for ring in piece.rings
            ]
            size = {"imageHeight": SIZE[0], "imageWidth": SIZE[1], "imagePath": f"{name}.jpg"}
            save(folder / split / f"{name}.json", {"version": "5.4.1", "shapes": shapes, **size})


def yolo(folder: Path) -> None:
    numbers = {name: k for k, name in enumerate(COLORS)}
    config = f"path: .\ntrain: images/train\nval: images/val\nnames: {list(COLORS)}\n"
    save(folder / "data.yaml", config)
    for split, names in SPLITS.items():
        write_images(folder / "images" / split, names)
        for name in names:
            lines = [
                f"{numbers[piece.label]} "
                + " ".join(f"{x / SIZE[1]:.6f} {y / SIZE[0]:.6f}" for x, y in piece.ring)
                for piece in SCENES[name]
            ]
            save(folder / "labels" / split / f"{name}.txt", "\n".join(lines))


def cvat_xml(folder: Path) -> None:
    write_images(folder / "images", "abc")
    text = "<annotations><version>1.1</version><meta></meta>"
    subsets = {"train": "Train", "val": "Validation"}
    for split, names in SPLITS.items():
        for name in names:
            size = f'subset="{subsets[split]}" width="{SIZE[1]}" height="{SIZE[0]}"'
            text += f'<image id="0" name="{name}.jpg" {size}>'
            for k, piece in enumerate(SCENES[name], 1):
                fields = f'label={quoteattr(piece.label)} z_order="{k}" group_id="{k}"'
                for ring in piece.rings:
                    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in ring)
                    text += f'<polygon {fields} points="{points}"></polygon>'
            text += "</image>"
    save(folder / "annotations.xml", text + "</annotations>")


def voc_masks(folder: Path) -> None:
    write_images(folder / "JPEGImages", "abc")
    lines = [f"{name}:{','.join(map(str, rgb))}::" for name, rgb in COLORS.items()]
    save(folder / "labelmap.txt", "\n".join(["background:0,0,0::", *lines]))
    for split, names in SPLITS.items():
        save(folder / "ImageSets" / "Segmentation" / f"{split}.txt", "\n".join(names))
    for name in SCENES:
        masks = np.zeros((2, *SIZE, 3), dtype=np.uint8)
        for k, (label, mask) in enumerate(expected(name), 1):
            masks[0][mask], masks[1][mask] = COLORS[label], (k, 100, 0)
        for kind, mask in zip(("Class", "Object"), masks):
            (folder / f"Segmentation{kind}").mkdir(exist_ok=True)
            Image.fromarray(mask).save(folder / f"Segmentation{kind}" / f"{name}.png")


def cityscapes(folder: Path) -> None:
    for split, names in SPLITS.items():
        write_images(
            folder / "leftImg8bit" / split / "x", [f"{n}_leftImg8bit" for n in names], ".png"
        )
        for name in names:
            objects = [{"label": p.label, "polygon": p.ring} for p in SCENES[name]]
            content = {"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": objects}
            save(folder / "gtFine" / split / "x" / f"{name}_gtFine_polygons.json", content)


# The formats, the most pixels in a thousand that their rounding changes, and the lowest IoU of a segment.
# labelme's and Cityscapes' own scripts draw the outline, too, and the way between two parts of an object.
WRITERS: Dict[str, Tuple[Callable[[Path], None], float, float]] = {
    "Roboflow COCO": (roboflow_coco, 3, 0.95),
    "CVAT COCO": (cvat_coco, 3, 0.95),
    "CVAT COCO, brush": (cvat_coco_brush, 0, 1),
    "labelme": (labelme, 25, 0.5),
    "YOLO-seg": (yolo, 3, 0.95),
    "CVAT XML": (cvat_xml, 3, 0.95),
    "VOC masks": (voc_masks, 0, 1),
    "Cityscapes polygons": (cityscapes, 25, 0.5),
}


def imported(folder: Path, split: str) -> Dict[str, Segments]:
    content = json.loads((folder / f"panoptic_{split}.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    found = {}
    for annotation in content["annotations"]:
        ids = read_segment_ids(folder / f"panoptic_{split}" / annotation["file_name"])
        assert not any(segment["iscrowd"] for segment in annotation["segments_info"])
        found[Path(annotation["file_name"]).stem[0]] = [
            (names[segment["category_id"]], ids == segment["id"])
            for segment in annotation["segments_info"]
        ]
    return found


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_scenes(name: str, tmp_path: Path) -> None:
    write, most, least = WRITERS[name]
    write(tmp_path / "export")
    classes = [{"name": n, "isthing": int(n not in STUFF), "color": c} for n, c in COLORS.items()]
    save(tmp_path / "classes.yaml", classes)
    words = ["import-dataset", "--annotations", str(tmp_path / "export"), "--workers", "1"]
    words += ["--output", str(tmp_path / "out"), "--classes", str(tmp_path / "classes.yaml")]
    words += ["--crowds-as-objects"] * name.endswith("brush")
    assert main(words) == 0
    changed, lowest = 0, 1.0
    for split, images in SPLITS.items():
        found = imported(tmp_path / "out", split)
        assert sorted(found) == images
        for image in images:
            wanted = expected(image)
            assert sorted(label for label, _ in found[image]) == sorted(
                label for label, _ in wanted
            )
            union = np.zeros(SIZE, dtype=bool)
            for label, mask in wanted:
                overlaps = {
                    (mask & other).sum() / (mask | other).sum(): mask ^ other
                    for own, other in found[image]
                    if own == label
                }
                lowest = min(lowest, max(overlaps))
                union |= overlaps[max(overlaps)]
            changed += int(union.sum())
    share = 1000 * changed / (len(SCENES) * SIZE[0] * SIZE[1])
    print(f"{name}: {share:.2f} of 1000 pixels differ, lowest IoU {lowest:.3f}")
    assert share <= most and lowest >= least
