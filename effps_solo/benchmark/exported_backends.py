"""An exported model in its runtime. A job of a worker, which imports no torch."""

from typing import List

import numpy as np
from PIL import Image

from effps_solo.inference.exported import ExportedPredictor, load_exported

from .measure import peak_memory, timed
from .worker import Answer, Task


class ExportedJob:
    """Predict with an exported model."""

    def __init__(self, predictor: ExportedPredictor, images: List[np.ndarray]) -> None:
        self.predictor, self.images = predictor, images
        self.loaded_memory = peak_memory()

    def run(self, number: int) -> Answer:
        """{"wall", "process"} seconds, {"things"}."""
        segments = []
        image = self.images[number % len(self.images)]
        seconds = timed(lambda: segments.extend(self.predictor.panoptic(image)[1]))
        return {**seconds._asdict(), "stages": {}, "things": sum(s["isthing"] for s in segments)}

    def finish(self) -> Answer:
        """{"peak_memory_bytes", "loaded_memory_bytes": the same before the first run}."""
        return {"peak_memory_bytes": peak_memory(), "loaded_memory_bytes": self.loaded_memory}


def open_job(task: Task) -> ExportedJob:
    """Of a task of kind onnx or openvino."""
    predictor = load_exported(task.paths[0], task.threads)
    step = -1 if predictor.image_format == "BGR" else 1
    return ExportedJob(predictor, [_pixels(path)[..., ::step] for path in task.images])


def _pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
