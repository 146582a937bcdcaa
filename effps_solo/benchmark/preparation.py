"""What is done once before the runs: counting, and writing the exported files. A job of a worker."""

import importlib.util
import statistics
from pathlib import Path
from typing import Dict

from detectron2.modeling import build_model

from effps_solo.utils.image_io import read_image

from .measure import count_macs, count_parameters
from .torch_backends import open_config, open_predictor
from .worker import Answer, Job, Task

# Suffix -> packages that write and run such files.
_PACKAGES = {
    ".onnx": ("onnx", "onnxscript", "onnxruntime"),
    ".xml": ("onnx", "onnxscript", "openvino"),
}


class PreparationJob(Job):
    """Everything that the other workers and the report need to know of the model."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.cfg = open_config(task)
        self.predictor = open_predictor(self.cfg, task.allow_unsafe)

    def run(self, number: int) -> Answer:
        """{"weights", "device", "parameters", "macs" and "things" (means over the images)} and {"missing":
        {suffix: why there is no such file}}.
        """
        images = [read_image(path, self.predictor.image_format) for path in self.task.images]
        segments = [self.predictor.panoptic(image)[1] for image in images]
        return {
            "weights": self.cfg.MODEL.WEIGHTS,
            "device": self.cfg.MODEL.DEVICE,
            "parameters": count_parameters(build_model(self.cfg)),  # no norms folded
            "macs": statistics.mean(
                count_macs(lambda: self.predictor.panoptic(image)) for image in images
            ),
            "things": statistics.mean(sum(s["isthing"] for s in found) for found in segments),
            "missing": self._export(),
        }

    def _export(self) -> Dict[str, str]:
        paths = [Path(path) for path in self.task.paths]
        missing = {path.suffix: lack for path in paths if (lack := _lack(path.suffix))}
        possible = [path for path in paths if path.suffix not in missing]
        if not possible:
            return missing
        try:
            # Slow, and onnxscript may be missing.
            from effps_solo.export import describe, save, trace

            name = Path(self.task.config_file).name
            description = describe(self.cfg, self.task.image_size, name)
            model = self.predictor.model.cpu()
            save(trace(model, description, self.cfg), description, possible)
        except Exception as error:  # the exporters raise types of their own
            lines = str(error).strip().splitlines() or [type(error).__name__]
            missing.update({path.suffix: f"cannot be exported: {lines[0]}" for path in possible})
        return missing


def _lack(suffix: str) -> str:
    """What keeps files of that kind from being written and run; "" for nothing."""
    lacking = [name for name in _PACKAGES[suffix] if importlib.util.find_spec(name) is None]
    return f"not installed: pip install {' '.join(lacking)}" if lacking else ""


open_job = PreparationJob  # of a task of kind prepare
