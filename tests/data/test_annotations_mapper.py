"""Dicts with annotations give what the panoptic mapper gives for the same image."""

from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetMapper, MetadataCatalog
from detectron2.structures import BitMasks, BoxMode, Instances
from PIL import Image
from pycocotools import mask as coco_mask

from effps_solo import add_effps_solo_config
from effps_solo.data.annotations_mapper import AnnotationsDatasetMapper, object_map
from effps_solo.data.mapper import AnnotationError, PanopticDatasetMapper
from effps_solo.utils.errors import ConfigError

IDS = {  # things behind stuff
    "thing_dataset_id_to_contiguous_id": {26: 2, 24: 3},
    "stuff_dataset_id_to_contiguous_id": {7: 0, 23: 1},
}
KEYS = ("gt_classes", "gt_centers", "gt_areas", "gt_stride4_masks")


def street(folder: Path, void: int = 255) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """The same image as a dict with panoptic PNG and as one with annotations.

    Road, sky, two cars, a person, a group of persons, and void.
    """
    ids = np.zeros((32, 48), dtype=np.uint8)
    ids[:8], ids[8:28] = 1, 2
    ids[12:20, 4:16], ids[12:20, 16:28], ids[9:21, 30:35], ids[10:18, 38:48] = 3, 4, 5, 6
    class_of_id = np.array([void, 1, 0, 2, 2, 3, 3], dtype=np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "image.png")
    Image.fromarray(np.stack([ids, 0 * ids, 0 * ids], axis=-1)).save(folder / "panoptic.png")
    Image.fromarray(class_of_id[ids]).save(folder / "labels.png")
    common = {"file_name": str(folder / "image.png"), "image_id": 1, "height": 32, "width": 48}
    segments = [
        {"id": k, "category_id": int(class_of_id[k]), "iscrowd": int(k == 6)} for k in range(1, 7)
    ]
    annotations = [annotation(ids == k, int(class_of_id[k]) - 2, k == 6) for k in (3, 4, 5, 6)]
    panoptic = {"pan_seg_file_name": str(folder / "panoptic.png"), "segments_info": segments}
    separate = {"sem_seg_file_name": str(folder / "labels.png"), "annotations": annotations}
    return {**common, **panoptic}, {**common, **separate}


def annotation(mask: np.ndarray, thing_index: int, crowd: bool) -> Dict[str, Any]:
    y, x = np.nonzero(mask)
    return {
        "bbox": [x.min(), y.min(), x.max() + 1, y.max() + 1],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": thing_index,
        "segmentation": coco_mask.encode(np.asfortranarray(mask)),
        "iscrowd": int(crowd),
    }


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.CROP_SIZE = (40, 40)
    cfg.DATASETS.TRAIN = ("annotated_street",)
    metadata = MetadataCatalog.get("annotated_street")
    metadata.set(**IDS, ignore_label=255)
    yield cfg
    MetadataCatalog.remove("annotated_street")


@pytest.mark.parametrize(("seed", "void"), [*((seed, 255) for seed in range(8)), (0, 99), (1, 99)])
def test_equals_the_panoptic_mapper(cfg: CfgNode, tmp_path: Path, seed: int, void: int) -> None:
    """Also where void is not 255, with which Detectron2 pads."""
    MetadataCatalog.remove("annotated_street")
    metadata = MetadataCatalog.get("annotated_street")
    metadata.set(**IDS, ignore_label=void)
    panoptic, separate = street(tmp_path, void)
    np.random.seed(seed)
    expected = PanopticDatasetMapper(cfg, is_train=True)(panoptic)
    np.random.seed(seed)
    found = AnnotationsDatasetMapper.from_config(cfg, is_train=True)(separate)
    for key in ("image", "sem_seg", "instance_ignore"):
        assert torch.equal(found[key], expected[key]), key
    found, expected = found["instances"], expected["instances"]
    assert torch.equal(found.gt_boxes.tensor, expected.gt_boxes.tensor)
    for key in KEYS:
        assert torch.equal(found.get(key), expected.get(key)), key


@pytest.mark.parametrize(("key", "value"), [("CROP_OBJECT_PROB", 0.5), ("COPY_PASTE_OBJECTS", 2)])
def test_what_needs_panoptic_pngs(cfg: CfgNode, key: str, value: float) -> None:
    cfg.INPUT[key] = value
    with pytest.raises(ConfigError, match=f"INPUT.{key} is {value}, which needs .* set it to 0"):
        AnnotationsDatasetMapper.from_config(cfg)


def test_image_without_objects(cfg: CfgNode, tmp_path: Path) -> None:
    _, separate = street(tmp_path)
    mapped = AnnotationsDatasetMapper.from_config(cfg)({**separate, "annotations": []})
    assert len(mapped["instances"]) == 0
    assert mapped["instances"].gt_stride4_masks.shape == (0, 10, 10)
    assert mapped["instance_ignore"].any()  # all cars and persons are groups now


def test_inference_reads_no_annotation(cfg: CfgNode, tmp_path: Path) -> None:
    _, separate = street(tmp_path)
    separate["annotations"] = "nonsense"
    mapped = AnnotationsDatasetMapper.from_config(cfg, is_train=False)(separate)
    assert mapped["image"].shape == (3, 32, 48) and "instances" not in mapped


def test_a_smaller_mask_lies_over_a_larger_one() -> None:
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, 1, 2] = masks[1, :, :4] = masks[2, 3:, 3:] = True
    instances = Instances((4, 6), gt_masks=BitMasks(masks))
    void = np.zeros((4, 6), dtype=bool)
    void[3, 5] = True
    assert object_map(instances, void).tolist() == [
        [2, 2, 2, 2, 0, 0],
        [2, 2, 1, 2, 0, 0],
        [2, 2, 2, 2, 0, 0],
        [2, 2, 2, 3, 3, 0],
    ]


def test_missing_labels_name_the_image(cfg: CfgNode, tmp_path: Path) -> None:
    mapper = AnnotationsDatasetMapper.from_config(cfg)
    for key in ("sem_seg_file_name", "annotations"):
        _, separate = street(tmp_path)
        del separate[key]
        with pytest.raises(AnnotationError, match=rf"image\.png: the dataset dict has no {key}"):
            mapper(separate)


def test_unknown_class_is_named(cfg: CfgNode, tmp_path: Path) -> None:
    _, separate = street(tmp_path)
    separate["annotations"][0]["category_id"] = 2  # a contiguous id where a thing index belongs
    cfg.INPUT.CROP_SIZE = (128, 128)  # all objects are in it
    with pytest.raises(AnnotationError, match=r"image\.png.*category_id 2.*2 thing classes"):
        AnnotationsDatasetMapper.from_config(cfg)({**separate})


def test_the_inner_mapper_is_detectron2s(cfg: CfgNode) -> None:
    assert type(AnnotationsDatasetMapper.from_config(cfg).mapper) is DatasetMapper
