"""Miniatures of published data sets in the layout of their downloads.

Four images each, two a split, all of different size, with odd names. Each shows two kinds of stuff,
two things of one class that touch, one of another, a crowd (where the data set has any), and void.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import builtin, register_coco_panoptic
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES, _get_builtin_metadata
from detectron2.data.datasets.cityscapes_panoptic import register_all_cityscapes_panoptic
from PIL import Image

from effps_solo.data.datasets.cityscapes import cityscapes_classes
from effps_solo.data.datasets.families import FAMILIES, Family
from effps_solo.data.datasets.family import class_list_file
from effps_solo.data.importers.classes import read_entries
from effps_solo.structures.panoptic_png import ids_to_rgb

SPLITS = ("train", "val")
SIZES = {"train": [(64, 96), (80, 64)], "val": [(96, 64), (72, 120)]}


@dataclass(frozen=True)
class Region:
    """A rectangle of an image; later ones cover earlier ones.

    Attributes:
        role: "stuff0", "stuff1", "thing0", "thing1", "crowd" (of thing0) or "void".
        rows, columns: from, to.
    """

    role: str
    rows: Tuple[int, int]
    columns: Tuple[int, int]

    @property
    def slices(self) -> Tuple[slice, slice]:
        return slice(*self.rows), slice(*self.columns)

    @property
    def polygon(self) -> List[List[int]]:
        """Corners of what Pillow fills, outline included."""
        (y0, y1), (x0, x1) = self.rows, self.columns
        return [[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]]


def regions(height: int, width: int) -> List[Region]:
    """What an image shows."""
    middle = height // 2
    return [
        Region("stuff0", (0, middle), (0, width)),
        Region("stuff1", (middle, height), (0, width)),
        Region("thing0", (middle - 20, middle), (0, 20)),
        Region("thing0", (middle - 20, middle), (20, 36)),
        Region("thing1", (middle - 12, middle + 16), (28, 52)),
        Region("crowd", (middle + 16, middle + 28), (4, 40)),
        Region("void", (height - 4, height), (0, width)),
    ]


def index_map(height: int, width: int) -> np.ndarray:
    """(H, W) the region on top of each pixel."""
    top = np.full((height, width), -1)
    for k, region in enumerate(regions(height, width)):
        top[region.slices] = k
    return top


def write_picture(path: Path, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shades = index_map(height, width)[..., None] * (30, 20, 10) + 40
    noise = np.random.default_rng(height).integers(0, 20, shades.shape)
    Image.fromarray((shades + noise).astype(np.uint8)).save(path)


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def images() -> Iterator[Tuple[str, int, int, int]]:
    """Split, number (0 and 1 are of train), height and width of every image."""
    sizes = [(split, *size) for split in SPLITS for size in SIZES[split]]
    for k, (split, height, width) in enumerate(sizes):
        yield split, k, height, width


# The class of each role; crowds are of thing0.
CLASSES = {
    "cityscapes": {"stuff0": "sky", "stuff1": "road", "thing0": "car", "thing1": "person"},
    "coco": {"stuff0": "sky-other-merged", "stuff1": "road", "thing0": "car", "thing1": "person"},
    "kitti": {"stuff0": "building", "stuff1": "sidewalk", "thing0": "rider", "thing1": "bicycle"},
    "vistas_v1.2": {"stuff0": "Sky", "stuff1": "Curb", "thing0": "Bird", "thing1": "Pole"},
    "vistas_v2.0": {
        "stuff0": "Lane Marking (only) - Test",
        "stuff1": "Static",
        "thing0": "Person",
        "thing1": "Water Valve",
    },
    "idd": {
        "stuff0": "sky",
        "stuff1": "drivable fallback",
        "thing0": "autorickshaw",
        "thing1": "vehicle fallback",
    },
    "ade20k": {
        "stuff0": "wall",
        "stuff1": "crt screen",
        "thing0": "flag",
        "thing1": "toilet, can, commode, crapper, pot, potty, stool, throne",
    },
}
NO_CROWDS = ("ade20k",)


def write_polygons(path: Path, height: int, width: int, labels: Dict[str, str]) -> None:
    objects = [
        {"label": labels[region.role], "polygon": region.polygon}
        for region in regions(height, width)
    ]
    content = {"imgHeight": height, "imgWidth": width, "objects": objects}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_cityscapes(folder: Path) -> None:
    labels = {**CLASSES["cityscapes"], "crowd": "cargroup", "void": "ego vehicle"}
    for split, k, height, width in images():
        stem = f"{'zürich' if k % 2 else 'ulm'}_000000_{k:06d}"
        city = stem.split("_")[0]
        image = folder / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png"
        write_picture(image, height, width)
        path = folder / "gtFine" / split / city / f"{stem}_gtFine_polygons.json"
        write_polygons(path, height, width, labels)


def write_idd(folder: Path) -> None:
    labels = {**CLASSES["idd"], "crowd": "autorickshawgroup", "void": "license plate"}
    labels.update(stuff1="parking", thing1="caravan")  # others of the same class
    for split, k, height, width in images():
        # The same name in two drives; part II of IDD has JPEGs.
        image = (
            folder
            / "leftImg8bit"
            / split
            / f"{k}.1"
            / f"frame 0_leftImg8bit{'.jpg' if k % 2 else '.png'}"
        )
        write_picture(image, height, width)
        path = folder / "gtFine" / split / f"{k}.1" / "frame 0_gtFine_polygons.json"
        write_polygons(path, height, width, labels)


def write_kitti(folder: Path) -> None:
    ids = {c["name"]: c["id"] for c in cityscapes_classes().categories}
    names = CLASSES["kitti"]
    for split, k, height, width in images():
        values = []
        for number, region in enumerate(regions(height, width)):
            label = ids[names.get(region.role, names["thing0"])]
            is_object = region.role.startswith("thing")
            # Void is 0 or an id that is not evaluated.
            values.append(
                k % 2 if region.role == "void" else label * 1000**is_object + number * is_object
            )
        pixels = ids_to_rgb(np.array(values)[index_map(height, width)])
        native = folder / {"train": "training", "val": "validation"}[split]
        write_picture(native / "images" / f"00000{k}_10 (ä).png", height, width)
        write_png(native / "annotations" / f"00000{k}_10 (ä).png", pixels)


def write_ade20k(folder: Path) -> None:
    classes = FAMILIES["ade20k"].classes().categories  # type: ignore[misc]
    things = [c["name"] for c in classes if c["isthing"]]
    value = {c["name"]: c["id"] + 1 for c in classes}
    names = CLASSES["ade20k"]
    for split, k, height, width in images():
        semantic, objects = [], []
        for number, region in enumerate(regions(height, width)):
            # There are no crowds: a thing without an object.
            name = names.get(region.role, names["thing0"])
            semantic.append(0 if region.role == "void" else value[name])
            is_object = region.role.startswith("thing")
            objects.append((things.index(name) + 1, number, 0) if is_object else (0, 0, 0))
        top = index_map(height, width)
        native = {"train": "training", "val": "validation"}[split]
        stem = f"ADE_{split}_0000000{k}.x"
        write_picture(folder / "images" / native / f"{stem}.jpg", height, width)
        write_png(
            folder / "annotations" / native / f"{stem}.png", np.array(semantic, np.uint8)[top]
        )
        write_png(
            folder / "annotations_instance" / native / f"{stem}.png",
            np.array(objects, np.uint8)[top],
        )


def panoptic_annotation(
    category_ids: Dict[str, int], height: int, width: int
) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
    """Panoptic PNG and segments_info as COCO and Vistas have them, with scattered ids."""
    top, ids, info = index_map(height, width), [], []
    for k, region in enumerate(regions(height, width)):
        ids.append(0 if region.role == "void" else (k + 1) * 2_000_003 % 256**3)
        if region.role != "void":
            category = category_ids[region.role if region.role != "crowd" else "thing0"]
            rows, columns = np.nonzero(top == k)
            box = [
                int(columns.min()),
                int(rows.min()),
                int(np.ptp(columns)) + 1,
                int(np.ptp(rows)) + 1,
            ]
            segment = {"id": ids[-1], "category_id": category, "area": len(rows), "bbox": box}
            info.append({**segment, "iscrowd": int(region.role == "crowd")})
    return ids_to_rgb(np.array(ids)[top]), info


def write_vistas(folder: Path, version: str, year: str) -> None:
    categories = [
        {"id": k, "name": c["name"], "isthing": c["isthing"], "supercategory": c["labels"][0]}
        for k, c in enumerate(read_entries(str(class_list_file(f"vistas_{version}"))), 1)
    ]
    ids = {c["name"]: c["id"] for c in categories}
    names = CLASSES[f"vistas_{version}"]
    contents: Dict[str, Dict[str, Any]] = {
        split: {"images": [], "annotations": [], "categories": categories} for split in SPLITS
    }
    for split, k, height, width in images():
        native = folder / {"train": "training", "val": "validation"}[split]
        stem = f"-_{split}jRsD9anHdGxv4{k}"
        pixels, info = panoptic_annotation({r: ids[n] for r, n in names.items()}, height, width)
        write_picture(native / "images" / f"{stem}.jpg", height, width)
        write_png(native / version / "panoptic" / f"{stem}.png", pixels)
        size = {"height": height, "width": width}
        contents[split]["images"].append({"id": stem, "file_name": f"{stem}.jpg", **size})
        annotation = {"image_id": stem, "file_name": f"{stem}.png", "segments_info": info}
        contents[split]["annotations"].append(annotation)
    for split, content in contents.items():
        native = folder / {"train": "training", "val": "validation"}[split]
        path = native / version / "panoptic" / f"panoptic_{year}.json"
        path.write_text(json.dumps(content))


def write_coco(folder: Path) -> None:
    ids = {c["name"]: c["id"] for c in COCO_CATEGORIES}
    category_ids = {role: ids[name] for role, name in CLASSES["coco"].items()}
    contents: Dict[str, Dict[str, Any]] = {
        split: {"images": [], "annotations": [], "categories": COCO_CATEGORIES} for split in SPLITS
    }
    (folder / "annotations").mkdir(parents=True)
    for split, k, height, width in images():
        number = 139 + k
        pixels, info = panoptic_annotation(category_ids, height, width)
        write_picture(folder / f"{split}2017" / f"{number:012d}.jpg", height, width)
        png = folder / "annotations" / "one.png"
        write_png(png, pixels)
        name = f"panoptic_{split}2017"
        with zipfile.ZipFile(folder / "annotations" / f"{name}.zip", "a") as archive:
            archive.write(png, f"{name}/{number:012d}.png")
            archive.writestr(f"__MACOSX/{name}/._{number:012d}.png", b"")
        png.unlink()
        size = {"height": height, "width": width}
        contents[split]["images"].append({"id": number, "file_name": f"{number:012d}.jpg", **size})
        annotation = {"image_id": number, "file_name": f"{number:012d}.png", "segments_info": info}
        contents[split]["annotations"].append(annotation)
    for split, content in contents.items():
        (folder / "annotations" / f"panoptic_{split}2017.json").write_text(json.dumps(content))


WRITERS: Dict[str, Callable[[Path], None]] = {
    "cityscapes": write_cityscapes,
    "coco": write_coco,
    "kitti": write_kitti,
    "vistas_v1.2": lambda folder: write_vistas(folder, "v1.2", "2018"),
    "vistas_v2.0": lambda folder: write_vistas(folder, "v2.0", "2020"),
    "idd": write_idd,
    "ade20k": write_ade20k,
}


@pytest.fixture
def write_miniature(tmp_path: Path, clean_catalogs: None) -> Callable[[str], Path]:
    """Write the miniature of a family below the data root; returns its folder."""

    def write(name: str) -> Path:
        folder = tmp_path / FAMILIES[name].folder
        WRITERS[name](folder)
        _move_builtin(tmp_path)
        return folder

    return write


def _move_builtin(root: Path) -> None:
    """Register anew below ``root`` what Detectron2 registered while it was imported."""
    for name in ("cityscapes", "coco"):
        for split in FAMILIES[name].splits:
            DatasetCatalog.remove(FAMILIES[name].dataset_name(split))
            MetadataCatalog.remove(FAMILIES[name].dataset_name(split))
    register_all_cityscapes_panoptic(str(root))
    for split in SPLITS:
        name = FAMILIES["coco"].dataset_name(split)
        png, panoptic_json, _ = builtin._PREDEFINED_SPLITS_COCO_PANOPTIC[name]
        register_coco_panoptic(
            name,
            _get_builtin_metadata("coco_panoptic_standard"),
            str(root / "coco" / f"{split}2017"),
            str(root / png),
            str(root / panoptic_json),
        )


@pytest.fixture
def expected() -> Callable[..., Dict[int, Tuple[str, bool]]]:
    """(family, height, width) -> region on top -> its class and whether it is a crowd; not void."""

    def find(family: Family, height: int, width: int) -> Dict[int, Tuple[str, bool]]:
        names, found = CLASSES[family.name], {}
        for k, region in enumerate(regions(height, width)):
            is_crowd = region.role == "crowd"
            if region.role != "void" and not (is_crowd and family.name in NO_CROWDS):
                found[k] = (names["thing0" if is_crowd else region.role], is_crowd)
        return found

    return find


@pytest.fixture
def region_map() -> Callable[[int, int], np.ndarray]:
    """(height, width) -> (H, W) the region on top of each pixel."""
    return index_map
