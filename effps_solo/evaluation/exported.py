"""The evaluation of exported models: the same evaluators, fed by another runtime."""

from collections import OrderedDict
from functools import partial
from typing import Any, Dict, List

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import inference_on_dataset

from effps_solo.data.build import build_test_loader
from effps_solo.inference.exported import ExportedPredictor
from effps_solo.structures.classes import class_keys, classes_from_metadata, list_of_classes
from effps_solo.utils.errors import ConfigError
from effps_solo.utils.image_io import read_image

from .build import build_evaluator


def evaluate_exported(cfg: CfgNode, predictor: ExportedPredictor) -> Dict[str, Any]:
    """Evaluate an exported model on ``DATASETS.TEST``, image by image.

    Args:
        cfg: of the data sets; files go to ``OUTPUT_DIR``/inference. MODEL.OUTPUTS must be
            "panoptic_seg" alone, which is all that an exported model gives.

    Returns:
        as the trainer's ``test``: task -> metric -> percent, by data set if there are several.

    Raises:
        ConfigError: the model was made for other classes.
        DatasetError: a data set is not there.
        UserError: an image has another shape than those that the model was made for.
    """
    results = OrderedDict()
    read = partial(_with_image, image_format=predictor.image_format)
    for name in cfg.DATASETS.TEST:
        loader = build_test_loader(cfg, name, read)
        predict = partial(_predict, predictor, _matched_by_name(predictor, name))
        results[name] = inference_on_dataset(predict, loader, build_evaluator(cfg, name))
    return results if len(results) > 1 else dict(*results.values())


def _matched_by_name(predictor: ExportedPredictor, name: str) -> List[int]:
    """The contiguous id in the data set of each class of the model, in the order of the model's ids."""
    data = classes_from_metadata(MetadataCatalog.get(name))
    there, here = class_keys(data), class_keys(predictor.classes)
    if sorted(there) != sorted(here):
        raise ConfigError(
            f"DATASETS.TEST: '{name}' has the classes {list_of_classes(data)}; the model was exported for "
            f"{list_of_classes(predictor.classes)}"
        )
    return [there.index(key) for key in here]


def _with_image(record: Dict[str, Any], image_format: str) -> Dict[str, Any]:
    """The mapper: adds "image", (H, W, 3) uint8."""
    return {**record, "image": read_image(record["file_name"], image_format)}


def _predict(
    predictor: ExportedPredictor, contiguous_ids: List[int], inputs: List[Dict[str, Any]]
) -> List[Dict[str, Any]]:
    """Outputs in the format of a Detectron2 model, one dict for each image of the batch."""
    outputs = []
    for item in inputs:
        panoptic_seg, segments_info = predictor.panoptic(item["image"])
        segments = [
            {**segment, "category_id": contiguous_ids[segment["category_id"]]}
            for segment in segments_info
        ]
        pixels = torch.from_numpy(np.ascontiguousarray(panoptic_seg))
        outputs.append({"panoptic_seg": (pixels, segments)})
    return outputs
