"""Generated street scenes: the layout and the classes of Cityscapes under names of their own.

They lie in the folder ``street_scenes`` of the data root; Cityscapes itself is never touched.
"""

import os
from dataclasses import replace
from typing import Any, Dict, List

from detectron2.data import MetadataCatalog
from detectron2.data.datasets.cityscapes_panoptic import get_cityscapes_panoptic_files

from effps_solo.structures.label_space import PanopticLabelSpace

from .cityscapes import CITYSCAPES
from .files import DatasetError, data_root, read_json_object, require_file, require_paths

STREET_SCENES = replace(
    CITYSCAPES,
    name="street_scenes",
    folder="street_scenes",
    dataset="street_scenes_panoptic_{split}",
    script="generate_street_scenes.py",
)


def street_scenes_metadata(split: str) -> Dict[str, Any]:
    """Detectron2's metadata of Cityscapes panoptic with the paths of a split; nothing is read."""
    metadata = MetadataCatalog.get("cityscapes_fine_panoptic_train").as_dict()
    del metadata["name"]
    files = STREET_SCENES.files(split)
    return {
        **metadata,
        "image_root": files.images,
        "gt_dir": STREET_SCENES.path(data_root(), "gtFine/{split}", split),
        "panoptic_root": files.panoptic_png,
        "panoptic_json": files.panoptic_json,
    }


def load_street_scenes(
    metadata: Dict[str, Any], label_space: PanopticLabelSpace
) -> List[Dict[str, Any]]:
    """The dataset dicts of a split, as Detectron2's ``load_cityscapes_panoptic`` makes them.

    That function cuts paths at their first dot, so a root like ./datasets would be lost; files and
    entries are paired by its own helper.

    Raises:
        DatasetError: files are missing or damaged; the message names the command that makes them.
    """
    require_paths(metadata, "", STREET_SCENES.remedy)
    content = read_json_object(metadata["panoptic_json"], ("annotations",))
    folders = metadata["image_root"], metadata["panoptic_root"]
    try:
        triples = get_cityscapes_panoptic_files(*folders, content)
        return [_record(metadata["gt_dir"], label_space, *triple) for triple in triples]
    except (AssertionError, KeyError) as error:
        raise DatasetError(
            f"{metadata['panoptic_json']} and the files beside it do not belong together ({error}); "
            "generate them anew with `python datasets/generate_street_scenes.py --overwrite`"
        ) from error


def _record(
    labels: str,
    label_space: PanopticLabelSpace,
    image: str,
    panoptic_png: str,
    segments: List[Dict[str, Any]],
) -> Dict[str, Any]:
    require_file(panoptic_png, "panoptic PNG", STREET_SCENES.remedy)
    city, name = os.path.split(image)
    stem = name.removesuffix("_leftImg8bit.png")
    for segment in segments:
        segment["category_id"] = label_space.contiguous_id(segment["category_id"])
    label_image = f"{stem}_gtFine_labelTrainIds.png"
    return {
        "file_name": image,
        "image_id": stem,
        "sem_seg_file_name": os.path.join(labels, os.path.basename(city), label_image),
        "pan_seg_file_name": panoptic_png,
        "segments_info": segments,
    }
