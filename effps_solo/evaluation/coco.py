"""mIoU and AP of data sets in COCO panoptic layout, by Detectron2's SemSegEvaluator and COCOEvaluator.

Neither knows panoptic annotations. Both get a view of the data set, registered while they are built:
semantic labels are read from the panoptic PNGs, and an instances JSON is derived from them once.
"""

import contextlib
import hashlib
import io
import json
import logging
import math
import os
from typing import Any, Dict, Iterator, List, Optional

import numpy as np
import pycocotools.mask as mask_util
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.evaluation import COCOEvaluator, SemSegEvaluator
from detectron2.utils import comm

from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.structures.panoptic_png import read_segment_ids

from .masks import rles

logger = logging.getLogger(__name__)

Records = List[Dict[str, Any]]


def build_semantic_evaluator(dataset_name: str, records: Records) -> "SemanticEvaluator":
    """Detectron2's mIoU on ``records`` of a data set.

    The labels come from the panoptic PNGs, void does not count.
    """
    metadata = MetadataCatalog.get(dataset_name)
    label_space = PanopticLabelSpace.from_metadata(metadata)
    segments = {record["pan_seg_file_name"]: record["segments_info"] for record in records}

    def load(file_name: str, dtype: Any = int) -> np.ndarray:
        return semantic_labels(file_name, segments[file_name], label_space.ignore_label, dtype)

    view = [
        {"file_name": r["file_name"], "sem_seg_file_name": r["pan_seg_file_name"]} for r in records
    ]
    classes = range(label_space.num_classes)
    with _registered(
        f"{dataset_name}/sem_seg",
        view,
        stuff_classes=list(metadata.stuff_classes),
        stuff_dataset_id_to_contiguous_id={label_space.dataset_id(i): i for i in classes},
        ignore_label=label_space.ignore_label,
    ) as name:
        return SemanticEvaluator(name, sem_seg_loading_fn=load)


def build_instance_evaluator(
    dataset_name: str,
    records: Records,
    output_folder: str,
    max_detections: int,
    truth_folder: str,
) -> "ThingEvaluator":
    """Detectron2's mask AP of the things in ``records`` of a data set.

    The truth are the instance annotations that the data set names (``json_file``, as COCO's does) where
    the file is there: they overlap, as those of published figures do. Else they are derived from the
    panoptic PNGs.

    Args:
        output_folder: of the results.
        max_detections: per image and class; those with lower scores beyond it do not count.
            COCO's evaluation takes 10 where it is less.
        truth_folder: the instances JSON is kept there, for other evaluations of the data set too, until
            the panoptic JSON changes.
    """
    metadata = MetadataCatalog.get(dataset_name)
    label_space = PanopticLabelSpace.from_metadata(metadata)
    # Detectron2 names the APs in the order of ascending dataset ids, whatever the contiguous ids are.
    named_by_dataset_id = sorted(label_space.thing_ids, key=label_space.dataset_id)
    with _registered(
        f"{dataset_name}/instances",
        [],
        json_file=_annotated_instances(metadata)
        or _instances_json(metadata, records, truth_folder),
        thing_classes=[metadata.thing_classes[c] for c in named_by_dataset_id],
        thing_dataset_id_to_contiguous_id={
            label_space.dataset_id(c): i for i, c in enumerate(label_space.thing_ids)
        },
    ) as name:
        image_ids = [record["image_id"] for record in records]
        return ThingEvaluator(name, label_space, output_folder, max_detections, image_ids)


class SemanticEvaluator(SemSegEvaluator):
    """Detectron2's SemSegEvaluator without its boundary IoU and without the predictions as RLEs.

    The former compares outlines in which void counts, so a perfect prediction does not reach 100; the
    latter nobody reads, and they fill the memory.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._compute_boundary_iou = False

    def encode_json_sem_seg(self, sem_seg: np.ndarray, input_file_name: str) -> Records:
        """Nothing to keep."""
        return []


class ThingEvaluator(COCOEvaluator):
    """Detectron2's COCOEvaluator for ``pred_classes`` that are contiguous ids of all classes."""

    def __init__(
        self,
        name: str,
        label_space: PanopticLabelSpace,
        output_dir: str,
        max_detections: int,
        image_ids: List[Any],
    ) -> None:
        """``image_ids``: of the images to judge; the instances JSON may list more."""
        super().__init__(
            name,
            tasks=("segm",),
            output_dir=output_dir,
            max_dets_per_image=max_detections,
            use_fast_impl=False,
        )
        self._label_space = label_space
        self._image_ids = image_ids

    def process(self, inputs: Records, outputs: Records) -> None:
        """Take the "instances" of every output."""
        start = len(self._predictions)
        super().process(inputs, [self._without_masks(output) for output in outputs])
        for prediction, output in zip(self._predictions[start:], outputs):
            masks = rles(output["instances"].pred_masks)
            for found, rle in zip(prediction["instances"], masks):
                found["segmentation"] = rle

    def _without_masks(self, output: Dict[str, Any]) -> Dict[str, Any]:
        """With classes of things alone; the masks, of whole frames there, follow by themselves."""
        instances = output["instances"]
        classes = [self._label_space.thing_index(c) for c in instances.pred_classes.tolist()]
        fields = {
            **instances.get_fields(),
            "pred_classes": torch.tensor(classes, dtype=torch.int64),
        }
        del fields["pred_masks"]
        return {"instances": type(instances)(instances.image_size, **fields)}

    def evaluate(self, img_ids: Any = None) -> Dict[str, Dict[str, float]]:
        """
        Returns:
            on the main process {"segm": {AP, AP50, AP75, APs, APm, APl, AP-<class>}} in percent.
        """
        with contextlib.redirect_stdout(io.StringIO()):
            return super().evaluate(self._image_ids if img_ids is None else img_ids)

    def _derive_coco_results(
        self, coco_eval: Any, iou_type: str, class_names: Optional[List[str]] = None
    ) -> Dict[str, float]:
        """Nothing found is an AP of 0, not unknown, if there was something to find."""
        if coco_eval is not None:
            return super()._derive_coco_results(coco_eval, iou_type, class_names)
        truth = self._coco_api.dataset["annotations"]
        score = 0.0 if any(not annotation["iscrowd"] for annotation in truth) else math.nan
        return {"AP": score, "AP50": score, "AP75": score}


@contextlib.contextmanager
def _registered(name: str, records: Records, **metadata: Any) -> Iterator[str]:
    """A data set that exists within the context; evaluators keep its metadata beyond."""
    DatasetCatalog.register(name, lambda: records)
    try:
        MetadataCatalog.get(name).set(**metadata)
        yield name
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def semantic_labels(
    file_name: str, segments: Records, ignore_label: int, dtype: Any = int
) -> np.ndarray:
    """(H, W) contiguous ids of a panoptic PNG; void and unlisted segments are ``ignore_label``."""
    id_map = read_segment_ids(file_name)
    category = {segment["id"]: segment["category_id"] for segment in segments}
    if not category:
        return np.full(id_map.shape, ignore_label, dtype=dtype)
    ids = np.array(sorted(category), dtype=id_map.dtype)
    labels = np.array([category[i] for i in ids.tolist()], dtype=dtype)
    place = np.searchsorted(ids, id_map).clip(max=len(ids) - 1)  # five times faster than np.unique
    return np.where(ids[place] == id_map, labels[place], labels.dtype.type(ignore_label))


def _annotated_instances(metadata: Metadata) -> str:
    """The path of the instance annotations that come with the data set; "" where there are none."""
    path = metadata.get("json_file") or ""
    return path if os.path.isfile(path) else ""


def _instances_json(metadata: Metadata, records: Records, folder: str) -> str:
    """The path of the instances JSON, made by one process a machine if it is not there."""
    source = os.path.abspath(metadata.panoptic_json)
    state = f"{source}:{os.stat(source).st_mtime_ns}:{os.path.abspath(metadata.panoptic_root)}:{len(records)}"
    digest = hashlib.sha256(state.encode()).hexdigest()[:12]
    path = os.path.join(folder, f"{metadata.name}_{digest}.json")
    if comm.get_local_rank() == 0 and not os.path.isfile(path):
        logger.info("Deriving the instances of %s from its panoptic PNGs ...", metadata.name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        content = derive_instances(metadata, records)
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(temporary, path)
    comm.synchronize()
    return path


def derive_instances(metadata: Metadata, records: Records) -> Dict[str, Any]:
    """COCO instance annotations (dataset ids, RLE masks) of the things in panoptic PNGs."""
    label_space = PanopticLabelSpace.from_metadata(metadata)
    annotations: List[Dict[str, Any]] = []
    images = []
    for record in records:
        ids = read_segment_ids(record["pan_seg_file_name"])
        images.append({"id": record["image_id"], "height": ids.shape[0], "width": ids.shape[1]})
        for segment in record["segments_info"]:
            if label_space.is_thing(segment["category_id"]):
                annotation = _instance(ids == segment["id"], segment, label_space)
                # Ids start at 1: COCO takes 0 for "not matched".
                annotation.update(id=len(annotations) + 1, image_id=record["image_id"])
                annotations.append(annotation)
    categories = [
        {"id": label_space.dataset_id(c), "name": metadata.thing_classes[c]}
        for c in label_space.thing_ids
    ]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _instance(
    mask: np.ndarray, segment: Dict[str, Any], label_space: PanopticLabelSpace
) -> Dict[str, Any]:
    rle = mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {
        "category_id": label_space.dataset_id(segment["category_id"]),
        "iscrowd": int(segment.get("iscrowd", 0)),
        "area": int(mask_util.area(rle)),
        "bbox": mask_util.toBbox(rle).tolist(),
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
    }
