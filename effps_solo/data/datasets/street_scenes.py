"""Generated street scenes: the layout and the classes of Cityscapes under names of their own.

They lie in the folder ``street_scenes`` of the data root; Cityscapes itself is never touched.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

from detectron2.data import MetadataCatalog
from detectron2.data.datasets.cityscapes_panoptic import get_cityscapes_panoptic_files

from effps_solo.structures.label_space import PanopticLabelSpace

from .cityscapes import CITYSCAPES
from .cityscapes_labels import IMAGE_SUFFIX
from .files import DatasetError, data_root, read_json_object, require_file, require_paths

STREET_SCENES = replace(
    CITYSCAPES,
    name="street_scenes",
    title="generated street scenes",
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
    folders, records = (metadata["image_root"], metadata["panoptic_root"]), []
    try:
        for image, panoptic_png, segments in get_cityscapes_panoptic_files(*folders, content):
            require_file(panoptic_png, "panoptic PNG", STREET_SCENES.remedy)
            for segment in segments:
                segment["category_id"] = label_space.contiguous_id(segment["category_id"])
            city, stem = Path(image).parent.name, Path(image).name.removesuffix(f"_{IMAGE_SUFFIX}")
            labels = f"{city}/{stem}_gtFine_labelTrainIds.png"
            records.append(
                {
                    "file_name": image,
                    "image_id": stem,
                    "sem_seg_file_name": os.path.join(metadata["gt_dir"], labels),
                    "pan_seg_file_name": panoptic_png,
                    "segments_info": segments,
                }
            )
    except (AssertionError, KeyError) as error:
        raise DatasetError(
            f"{metadata['panoptic_json']} and the files beside it do not belong together ({error}); "
            "generate them anew with `python datasets/generate_street_scenes.py --overwrite`"
        ) from error
    return records
