"""What a trained model costs: size, arithmetic, time and memory of inference.

A program, ``python -m effps_solo.comparison.measure CONFIG OUTPUT.json KEY VALUE ...``, because the
peak memory is that of a whole process.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from effps_solo.benchmark.measure import count_macs, count_parameters, peak_memory, timed
from effps_solo.config import load_config
from effps_solo.data.datasets.registration import check_dataset_available
from effps_solo.inference.predictor import Predictor, for_panoptic_maps
from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.image_io import read_image
from effps_solo.utils.machine import cpu, keep_freed_memory

NUM_IMAGES = 20


def measure(cfg: CfgNode) -> Dict[str, Any]:
    """Measure the model ``MODEL.WEIGHTS`` on up to 20 images of ``DATASETS.TEST[0]``.

    Only the panoptic map is asked for, as ``predict`` does.

    Returns:
        "parameters"; "inference_seconds", the median over the images from pixels to panoptic map,
        behind one image to warm up; "peak_memory_bytes", resident, of this whole process up to here
        (of the allocated GPU memory on a GPU); "macs", multiply-accumulates of convolutions and
        matrix products, the mean over the images; "num_images"; "device", the model of
        the processor or GPU; "threads".
    """
    for_panoptic_maps(cfg)
    predictor = Predictor(cfg)
    device = cfg.MODEL.DEVICE
    on_gpu = device.startswith("cuda")
    paths = _choose_images(cfg.DATASETS.TEST[0])
    _, *seconds = (_seconds(predictor, path) for path in [paths[0], *paths])
    # Before the counting, which is no part of inference.
    peak = peak_memory(device)
    macs = [
        count_macs(lambda: predictor.panoptic(read_image(path, predictor.image_format)))
        for path in paths
    ]
    return {
        "parameters": count_parameters(build_model(cfg)),  # no norms folded
        "macs": statistics.mean(macs),
        "inference_seconds": statistics.median(seconds),
        "peak_memory_bytes": peak,
        "num_images": len(paths),
        "device": torch.cuda.get_device_name() if on_gpu else cpu()["model"],
        "threads": torch.get_num_threads(),
    }


def _choose_images(dataset_name: str) -> List[str]:
    """The same images, spread over the data set, for every method."""
    check_dataset_available(dataset_name)
    names = [record["file_name"] for record in DatasetCatalog.get(dataset_name)]
    chosen = np.linspace(0, len(names) - 1, min(NUM_IMAGES, len(names))).round().astype(int)
    return [names[i] for i in chosen]


def _seconds(predictor: Predictor, path: str) -> float:
    image = read_image(path, predictor.image_format)
    return timed(lambda: predictor.panoptic(image)).wall


def main(arguments: Sequence[str]) -> None:
    """Write the measurements to a JSON file; see the head of this module."""
    config_file, output, *overrides = arguments
    cfg = load_config(config_file, overrides)
    if cfg.MODEL.DEVICE == "cpu":
        keep_freed_memory()
    write_atomically(Path(output), json.dumps(measure(cfg), indent=1).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
