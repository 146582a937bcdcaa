"""Which evaluators a data set and a config ask for."""

import importlib
import logging
import os
from typing import Any, Dict, List, Optional

from detectron2.config import CfgNode
from detectron2.data import Metadata, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from effps_solo.data.build import evaluation_records
from effps_solo.utils.errors import ConfigError

from .panoptic import PanopticEvaluator
from .tables import TabulatedEvaluators

logger = logging.getLogger(__name__)

Records = List[Dict[str, Any]]


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_folder: Optional[str] = None
) -> TabulatedEvaluators:
    """The evaluators of what ``cfg.MODEL.OUTPUTS`` lists, on the images that ``TEST.MAX_IMAGES`` leaves.

    Args:
        dataset_name: a registered panoptic data set, in Cityscapes or in COCO panoptic layout.
        output_folder: the results go there; None: ``OUTPUT_DIR``/inference/``dataset_name``. What is
            derived from the ground truth goes to ``OUTPUT_DIR``/instances, for all evaluations.

    Returns:
        evaluators whose results are "panoptic_seg" (PQ, SQ, RQ, also _th and _st, PQ-<class>),
        "sem_seg" (mIoU, IoU-<class> and more) and "segm" (AP, AP-<class> and more), all in percent.
            A table of each is logged.

    Raises:
        ConfigError: the data set has no panoptic ground truth.
    """
    metadata = panoptic_metadata(dataset_name)
    folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name)
    os.makedirs(folder, exist_ok=True)
    if not cfg.MODEL.SEM_SEG_HEAD.NAME:
        logger.info(
            "No PQ and mIoU: the model has no semantic head (MODEL.SEM_SEG_HEAD.NAME is '')"
        )
    records, image_ids = evaluation_records(cfg, dataset_name), None
    if cfg.TEST.MAX_IMAGES > 0:
        image_ids = {record["image_id"] for record in records}
        logger.info(
            "%s is evaluated on %d of its images, spread evenly (TEST.MAX_IMAGES)",
            dataset_name,
            len(records),
        )
    evaluators: List[DatasetEvaluator] = []
    if "panoptic_seg" in cfg.MODEL.OUTPUTS:
        evaluators.append(
            PanopticEvaluator(dataset_name, folder, image_ids, cfg.TEST.BOUNDARY_RATIO)
        )
    if metadata.get("evaluator_type") == "cityscapes_panoptic_seg":
        evaluators += _cityscapes_evaluators(cfg, dataset_name, folder, records)
    else:
        evaluators += _coco_evaluators(cfg, dataset_name, folder, records)
    return TabulatedEvaluators(evaluators, dataset_name)


def panoptic_metadata(dataset_name: str) -> Metadata:
    """The metadata of a data set. ConfigError when it has no panoptic ground truth."""
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("panoptic_json") is None or metadata.get("panoptic_root") is None:
        raise ConfigError(
            f"DATASETS.TEST: data set '{dataset_name}' has no panoptic_json and panoptic_root in "
            "its metadata; only panoptic data sets can be evaluated"
        )
    return metadata


def _cityscapes_evaluators(
    cfg: CfgNode, dataset_name: str, folder: str, records: Records
) -> List[DatasetEvaluator]:
    try:
        cityscapes = importlib.import_module(f"{__package__}.cityscapes")
    except ImportError as error:
        logger.warning("No mIoU and AP: Detectron2's Cityscapes evaluators do not load (%s)", error)
        return []
    files = [record["file_name"] for record in records]
    evaluators: List[DatasetEvaluator] = []
    if "sem_seg" in cfg.MODEL.OUTPUTS:
        evaluators.append(cityscapes.CityscapesSemanticEvaluator(dataset_name, folder, files))
    if "instances" in cfg.MODEL.OUTPUTS:
        evaluators.append(cityscapes.CityscapesMaskEvaluator(dataset_name, folder, files))
    return evaluators


def _coco_evaluators(
    cfg: CfgNode, dataset_name: str, folder: str, records: Records
) -> List[DatasetEvaluator]:
    from .coco import build_instance_evaluator, build_semantic_evaluator

    evaluators: List[DatasetEvaluator] = []
    if "sem_seg" in cfg.MODEL.OUTPUTS:
        evaluators.append(build_semantic_evaluator(dataset_name, records))
    has_things = bool(MetadataCatalog.get(dataset_name).thing_dataset_id_to_contiguous_id)
    if "instances" in cfg.MODEL.OUTPUTS and has_things:
        limits = cfg.TEST.DETECTIONS_PER_IMAGE, os.path.join(cfg.OUTPUT_DIR, "instances")
        evaluators.append(build_instance_evaluator(dataset_name, records, folder, *limits))
    return evaluators
