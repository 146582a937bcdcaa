"""An exported model in its runtime. A job of a worker, which imports no torch."""

from effps_solo.inference.exported import load_exported
from effps_solo.utils.image_io import read_image

from .measure import peak_memory, timed
from .worker import Answer, Job, Task


class ExportedJob(Job):
    """Predict with an exported model."""

    def __init__(self, task: Task) -> None:
        self.predictor = load_exported(task.paths[0], task.threads)
        image_format = self.predictor.image_format
        self.images = [read_image(path, image_format) for path in task.images]
        self.loaded_memory = peak_memory()

    def run(self, number: int) -> Answer:
        """{"wall", "process"} seconds, {"things"}."""
        image = self.images[number % len(self.images)]
        wall, process, (_, segments) = timed(lambda: self.predictor.panoptic(image))
        things = sum(s["isthing"] for s in segments)
        return {"wall": wall, "process": process, "stages": {}, "things": things}

    def finish(self) -> Answer:
        """{"peak_memory_bytes", "loaded_memory_bytes": the same before the first run}."""
        return {"peak_memory_bytes": peak_memory(), "loaded_memory_bytes": self.loaded_memory}


open_job = ExportedJob  # of a task of kind onnx or openvino
