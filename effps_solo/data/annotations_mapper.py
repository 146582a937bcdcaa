"""Data sets without panoptic PNGs: Detectron2's own mapper, its output brought to the model's input.

H x W pixels of the augmented image, M objects.
"""

from typing import Any, Dict

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, MetadataCatalog
from detectron2.structures import Instances

from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import ConfigError

from .augmentation import PADDED_ID, build_augmentations
from .geometry import stride4_mask
from .mapper import AnnotationError, instances_from_objects


class AnnotationsDatasetMapper:
    """Maps a dict with ``annotations`` and ``sem_seg_file_name`` through an unchanged DatasetMapper,
    whose instance masks have the format "bitmask".

    ``annotations`` are Detectron2's: ``category_id`` is the thing index 0 .. T-1. The label image
    holds contiguous ids of all classes, things included, and the ignore label. Returns what
    :class:`PanopticDatasetMapper` returns; a pixel of a thing class outside all objects belongs to a
    group and is ignored by the instance head.
    """

    def __init__(self, mapper: DatasetMapper, label_space: PanopticLabelSpace) -> None:
        self.mapper = mapper
        self.label_space = label_space

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> "AnnotationsDatasetMapper":
        """The mapper of a config: ``INPUT.AUGMENTATION`` and the classes of ``DATASETS.TRAIN[0]``.

        Raises:
            ConfigError: a key that needs panoptic PNGs.
        """
        for key in ("CROP_OBJECT_PROB", "COPY_PASTE_OBJECTS") if is_train else ():
            if cfg.INPUT[key] > 0:
                raise ConfigError(
                    f"INPUT.{key} is {cfg.INPUT[key]}, which needs a data set with panoptic PNGs; "
                    f"'{cfg.DATASETS.TRAIN[0]}' has `annotations`: set it to 0"
                )
        mapper = DatasetMapper(
            cfg,
            is_train,
            augmentations=build_augmentations(cfg, is_train),
            use_instance_mask=True,
            instance_mask_format="bitmask",
            recompute_boxes=False,  # it fails on crops without objects; boxes come from the masks
        )
        metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
        return cls(mapper, PanopticLabelSpace.from_metadata(metadata))

    def __call__(self, dataset_dict: Dict[str, Any]) -> Dict[str, Any]:
        """
        Raises:
            AnnotationError: no semantic labels, no ``annotations``, or a class that does not exist.
        """
        mapped = self.mapper(dataset_dict)
        if not self.mapper.is_train:
            return mapped
        for key, source in (("sem_seg", "sem_seg_file_name"), ("instances", "annotations")):
            if key not in mapped:
                raise AnnotationError(f"{mapped['file_name']}: the dataset dict has no {source}")
        classes = mapped["instances"].gt_classes
        if len(classes) and int(classes.max()) >= self.label_space.num_things:
            raise AnnotationError(
                f"{mapped['file_name']}: an annotation has category_id {int(classes.max())}, but "
                f"the data set has {self.label_space.num_things} thing classes, 0 .. T-1"
            )
        sem_seg = mapped["sem_seg"].numpy()
        # Detectron2 pads masks, too, with a value that reads as "inside".
        void = np.isin(sem_seg, (self.label_space.ignore_label, PADDED_ID))
        sem_seg[void] = self.label_space.ignore_label  # in mapped, too
        objects = object_map(mapped["instances"], void)
        group = np.isin(sem_seg, self.label_space.thing_ids) & (objects == 0)
        mapped["instances"] = instances_from_objects(objects, classes.tolist())
        mapped["instance_ignore"] = torch.from_numpy(stride4_mask(void | group))
        return mapped


def object_map(instances: Instances, void: np.ndarray) -> np.ndarray:
    """(H, W) int32: k + 1 where object k lies, 0 for none; smaller masks lie over larger ones.

    Args:
        instances: with ``gt_masks`` (M, H, W), or none of them if M = 0.
        void: (H, W) bool, pixels that belong to no object.
    """
    objects = np.zeros(instances.image_size, dtype=np.int32)
    if len(instances) == 0:
        return objects
    inside = instances.gt_masks.tensor.numpy() & ~void
    for k in np.argsort(-inside.sum(axis=(1, 2)), kind="stable"):
        objects[inside[k]] = k + 1
    return objects
