"""Generated street scenes: the layout and the classes of Cityscapes under names of their own.

They lie in the folder ``street_scenes`` of the data root; Cityscapes itself is never touched.
"""

import os
from dataclasses import dataclass
from typing import Any, Dict, List

from detectron2.data import MetadataCatalog
from detectron2.data.datasets.cityscapes_panoptic import get_cityscapes_panoptic_files

from effps_solo.structures.label_space import PanopticLabelSpace

from .files import DatasetError, data_root, read_json_object, require_file, require_folder

FOLDER = "street_scenes"
NAMES = {split: f"street_scenes_panoptic_{split}" for split in ("train", "val")}
REMEDY = (
    "generate the street scenes with `python datasets/generate_street_scenes.py`, "
    "or set DETECTRON2_DATASETS to the folder that holds street_scenes"
)
_SHARED_METADATA = (
    "thing_classes",
    "stuff_classes",
    "thing_colors",
    "stuff_colors",
    "thing_dataset_id_to_contiguous_id",
    "stuff_dataset_id_to_contiguous_id",
    "ignore_label",
    "label_divisor",
    "evaluator_type",
)


@dataclass(frozen=True)
class CityscapesFiles:
    """The paths of one split in the layout of Cityscapes."""

    images: str
    gt: str
    panoptic_png: str
    panoptic_json: str

    def check(self, remedy: str) -> None:
        """Raises DatasetError, which ends in ``remedy``, when one of them is missing."""
        require_folder(self.images, "image folder", remedy)
        require_folder(self.gt, "label folder", remedy)
        require_file(self.panoptic_json, "panoptic JSON", remedy)
        require_folder(self.panoptic_png, "folder of panoptic PNGs", remedy)


def street_scenes_files(split: str) -> CityscapesFiles:
    """Where a split lies; nothing is read."""
    root = os.path.join(data_root(), FOLDER)
    gt = os.path.join(root, "gtFine")
    return CityscapesFiles(
        images=os.path.join(root, "leftImg8bit", split),
        gt=os.path.join(gt, split),
        panoptic_png=os.path.join(gt, f"cityscapes_panoptic_{split}"),
        panoptic_json=os.path.join(gt, f"cityscapes_panoptic_{split}.json"),
    )


def street_scenes_metadata(files: CityscapesFiles) -> Dict[str, Any]:
    """Detectron2's metadata of Cityscapes panoptic with the paths of ``files``."""
    cityscapes = MetadataCatalog.get("cityscapes_fine_panoptic_train")
    return {
        **{key: getattr(cityscapes, key) for key in _SHARED_METADATA},
        "image_root": files.images,
        "gt_dir": files.gt,
        "panoptic_root": files.panoptic_png,
        "panoptic_json": files.panoptic_json,
    }


def load_street_scenes(
    files: CityscapesFiles, label_space: PanopticLabelSpace
) -> List[Dict[str, Any]]:
    """The dataset dicts of a split, as Detectron2's ``load_cityscapes_panoptic`` makes them.

    That function cuts paths at their first dot, so a root like ./datasets would be lost; files and
    entries are paired by its own helper.

    Raises:
        DatasetError: files are missing or damaged; the message names the command that makes them.
    """
    files.check(REMEDY)
    content = read_json_object(files.panoptic_json, ("annotations",))
    try:
        triples = get_cityscapes_panoptic_files(files.images, files.panoptic_png, content)
        return [_record(files, label_space, *triple) for triple in triples]
    except (AssertionError, KeyError) as error:
        raise DatasetError(
            f"{files.panoptic_json} and the files beside it do not belong together ({error}); "
            "generate them anew with `python datasets/generate_street_scenes.py --overwrite`"
        ) from error


def _record(
    files: CityscapesFiles,
    label_space: PanopticLabelSpace,
    image: str,
    panoptic_png: str,
    segments: List[Dict[str, Any]],
) -> Dict[str, Any]:
    require_file(panoptic_png, "panoptic PNG", REMEDY)
    city, name = os.path.split(image)
    stem = name[: -len("_leftImg8bit.png")]
    for segment in segments:
        segment["category_id"] = label_space.contiguous_id(segment["category_id"])
    labels = f"{stem}_gtFine_labelTrainIds.png"
    return {
        "file_name": image,
        "image_id": stem,
        "sem_seg_file_name": os.path.join(files.gt, os.path.basename(city), labels),
        "pan_seg_file_name": panoptic_png,
        "segments_info": segments,
    }
