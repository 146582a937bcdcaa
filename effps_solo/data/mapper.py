"""From a panoptic dataset dict to what the model trains on.

Everything comes from the panoptic PNG and its ``segments_info``: the id map is transformed once, and
semantic labels, masks, boxes and centres are read off the result.
"""

import copy
import inspect
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper, MetadataCatalog
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances

from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.structures.panoptic_png import VOID, read_segment_ids
from effps_solo.utils.errors import UserError
from effps_solo.utils.image_io import read_image

from .augmentation import PADDED_ID, build_augmentations
from .geometry import boxes_from_id_map, geometry_from_id_map, stride4_mask
from .object_masks import ObjectMasks


class AnnotationError(UserError):
    """An image and its annotation do not fit together; the message names the file."""


@dataclass
class DenseSegments:
    """A panoptic annotation with dense ids.

    Attributes:
        ids: (H, W) int32; 0 is void, segments have 1, 2, ... without 255, Detectron2's padding.
        info: the segment of every id; ``None`` for 0 and 255.
    """

    ids: np.ndarray
    info: List[Optional[Dict[str, Any]]]


# An image (H, W, 3) and its annotation -> both, with more objects.
Paste = Callable[[np.ndarray, DenseSegments], Tuple[np.ndarray, DenseSegments]]


class PanopticDatasetMapper(DatasetMapper):
    """Maps a dict with ``file_name``, ``pan_seg_file_name`` and ``segments_info`` for the model.

    Returns the dict with "image" (3, H, W) uint8 and, in training, "sem_seg" (H, W) int64
    contiguous ids, "instances" (things that are no crowd: gt_classes thing index, gt_boxes,
    gt_centers, gt_areas, gt_stride4_masks (M, ceil(H/4), ceil(W/4)) bool, and gt_masks, the
    ObjectMasks of full resolution) and "instance_ignore" (ceil(H/4), ceil(W/4)) bool, crowds and
    void.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: List[T.Augmentation],
        image_format: str,
        label_space: PanopticLabelSpace,
        paste: Optional[Paste] = None,
    ) -> None:
        """
        Args:
            augmentations: Detectron2's, or transforms.
            image_format: "RGB" or "BGR".
            paste: see :class:`.copy_paste.CopyPaste`; in training, before the augmentations.
        """
        super().__init__(is_train, augmentations=augmentations, image_format=image_format)
        self.label_space, self.paste = label_space, paste
        # Detectron2 hands the boxes to an augmentation by the names of its arguments.
        arguments = [inspect.signature(a.get_transform).parameters for a in self.augmentations.augs]
        self._boxes_wanted = any("boxes" in names for names in arguments)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> Dict[str, Any]:
        metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "label_space": PanopticLabelSpace.from_metadata(metadata),
        }

    def __call__(self, dataset_dict: Dict[str, Any]) -> Dict[str, Any]:
        """
        Raises:
            AnnotationError: image and annotation differ in size, or a segment in the PNG is not in
                ``segments_info``.
            ImageError: a file cannot be read.
        """
        dataset_dict = copy.deepcopy(dataset_dict)
        image = read_image(dataset_dict["file_name"], self.image_format)
        utils.check_image_size(dataset_dict, image)
        segments_info = dataset_dict.pop("segments_info", None)
        if not self.is_train:
            dataset_dict["image"], _ = self._augment(image, boxes=None)
            return dataset_dict

        segments = read_dense_segments(dataset_dict["pan_seg_file_name"], segments_info)
        if segments.ids.shape != image.shape[:2]:
            raise AnnotationError(
                f"{dataset_dict['pan_seg_file_name']} is {_size(segments.ids)} pixels, its image "
                f"{dataset_dict['file_name']} is {_size(image)}"
            )
        if self.paste is not None:
            image, segments = self.paste(image, segments)
        boxes = self._object_boxes(segments) if self._boxes_wanted else None
        dataset_dict["image"], transforms = self._augment(image, boxes)
        segments.ids = transform_ids(segments.ids, transforms)
        dataset_dict.update(self._targets(segments))
        return dataset_dict

    def _augment(
        self, image: np.ndarray, boxes: Optional[np.ndarray]
    ) -> Tuple[torch.Tensor, T.Transform]:
        """The augmented image (3, H', W') uint8 and what was done to it."""
        aug_input = T.AugInput(image, boxes=boxes)
        transforms = self.augmentations(aug_input)
        pixels = np.ascontiguousarray(aug_input.image.transpose(2, 0, 1))
        return torch.from_numpy(pixels), transforms

    def _object_boxes(self, segments: DenseSegments) -> np.ndarray:
        """(M, 4) float32 XYXY of the objects, before any transform; for crops that look for one."""
        objects = self.objects(segments)
        boxes = boxes_from_id_map(objects, int(objects.max(initial=0)))
        return boxes[boxes[:, 2] > boxes[:, 0]]

    def _targets(self, segments: DenseSegments) -> Dict[str, Any]:
        """Of the transformed segments: "sem_seg", "instances" and "instance_ignore"."""
        info, void = segments.info, self.label_space.ignore_label
        class_of_id = np.array([s["category_id"] if s else void for s in info], dtype=np.int64)
        ignored_id = np.array([s is None or self._is_crowd(s) for s in info])
        things = [s["category_id"] for s in info if s and self._is_object(s)]
        classes = [self.label_space.thing_index(category_id) for category_id in things]
        return {
            "sem_seg": torch.from_numpy(class_of_id[segments.ids]),
            "instances": instances_from_objects(self.objects(segments), classes),
            "instance_ignore": torch.from_numpy(stride4_mask(ignored_id[segments.ids])),
        }

    def objects(self, segments: DenseSegments) -> np.ndarray:
        """(H, W) int32: the things that are no crowd as 1 .. M in the order of their ids, else 0."""
        is_object = np.array([s is not None and self._is_object(s) for s in segments.info])
        return np.where(is_object, is_object.cumsum(), 0).astype(np.int32)[segments.ids]

    def _is_crowd(self, segment: Dict[str, Any]) -> bool:
        """A group of things: teaches its class, but no instance."""
        return self.label_space.is_thing(segment["category_id"]) and bool(segment.get("iscrowd", 0))

    def _is_object(self, segment: Dict[str, Any]) -> bool:
        """A countable thing, which the instance head learns."""
        return self.label_space.is_thing(segment["category_id"]) and not self._is_crowd(segment)


def instances_from_objects(objects: np.ndarray, classes: List[int]) -> Instances:
    """Ground-truth ``Instances`` of the objects that have at least one pixel.

    Args:
        objects: (H, W), 0 for no object, 1 .. M for the objects.
        classes: thing index of each of the M objects.
    """
    geometry = geometry_from_id_map(objects, len(classes))
    instances = Instances(objects.shape[:2])
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    instances.gt_boxes = Boxes(torch.from_numpy(geometry.boxes))
    instances.gt_centers = torch.from_numpy(geometry.centers)
    instances.gt_areas = torch.from_numpy(geometry.areas)
    instances.gt_stride4_masks = torch.from_numpy(geometry.stride4_masks)
    instances.gt_masks = ObjectMasks(
        torch.from_numpy(objects), torch.arange(1, len(classes) + 1, dtype=torch.int64)
    )
    return instances[instances.gt_areas > 0]


def read_dense_segments(file_name: str, segments_info: List[Dict[str, Any]]) -> DenseSegments:
    """Read a panoptic PNG (id = R + 256 G + 65536 B) and renumber its segments densely.

    Raises AnnotationError when the PNG holds an id that ``segments_info`` does not list.
    """
    if segments_info is None:
        raise AnnotationError(f"{file_name}: the dataset dict has no segments_info")
    png_ids = read_segment_ids(file_name)
    info: List[Optional[Dict[str, Any]]] = [None]
    dense_of_id = np.full(int(png_ids.max()) + 1, -1, dtype=np.int32)  # -1: not in segments_info
    dense_of_id[VOID] = 0
    for segment in segments_info:
        if len(info) == PADDED_ID:
            info.append(None)
        if segment["id"] < len(dense_of_id):
            dense_of_id[segment["id"]] = len(info)
        info.append(segment)
    ids = dense_of_id[png_ids]
    if (ids < 0).any():
        unknown = np.unique(png_ids[ids < 0])
        raise AnnotationError(
            f"{file_name} holds the segment ids {unknown[:5].tolist()} that its segments_info in "
            "the panoptic JSON does not list"
        )
    # Padding may bring 255 into the map of an image with fewer segments.
    info.extend([None] * (PADDED_ID + 1 - len(info)))
    return DenseSegments(ids, info)


def transform_ids(ids: np.ndarray, transforms: T.Transform) -> np.ndarray:
    """Apply geometric transforms to an id map by nearest neighbour.

    Detectron2 resizes uint8 maps by PIL, whose sample points agree with those of the image;
    larger ids go through as two uint8 planes. Padding becomes 255 in either.

    Args:
        ids: (H, W) in 0 .. 65535 without 255; the result is (H', W') int32.
    """
    low = transforms.apply_segmentation((ids & 255).astype(np.uint8)).astype(np.int32)
    if ids.max(initial=0) < PADDED_ID:
        return low
    high = transforms.apply_segmentation((ids >> 8).astype(np.uint8)).astype(np.int32)
    padded = (low == PADDED_ID) & (high == PADDED_ID)
    return np.where(padded, PADDED_ID, low + 256 * high)


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
