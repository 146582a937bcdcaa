"""The model in torch: eager, compiled, in bf16. Jobs of a worker."""

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from effps_solo.config import check_device, load_config
from effps_solo.inference.predictor import Predictor, for_panoptic_maps
from effps_solo.inference.preparation import build_inference_model
from effps_solo.utils.image_io import read_image
from effps_solo.utils.machine import keep_freed_memory
from effps_solo.visualization.overlay import panoptic_overlay

from .measure import peak_memory, timed
from .stages import Scopes, clock, wrap_stages
from .worker import Answer, Job, Task

_SEED = 0  # of weights that no checkpoint has, so that they are the same in every process


class TorchJob(Job):
    """Load an image, predict, and draw if it ``draws``; only the prediction is the time of the run."""

    def __init__(
        self, predictor: Predictor, task: Task, device: str, *, draws: bool, has_stages: bool
    ) -> None:
        self.predictor, self.images, self.device = predictor, task.images, device
        self.draws, self.has_stages = draws, has_stages
        self.scopes = Scopes(clock(device))
        if has_stages:
            wrap_stages(self.scopes, predictor.model)
        self.loaded_memory = peak_memory(device)

    def run(self, number: int) -> Answer:
        """{"wall", "process"} seconds, {"stages": {name: seconds}, "things"}."""
        with self.scopes.scope("load"):
            path = self.images[number % len(self.images)]
            image = read_image(path, self.predictor.image_format)
        with self.scopes.scope("preprocess"):
            wall, process, found = timed(lambda: self.predictor.panoptic(image))
        panoptic_seg, segments_info = found
        if self.draws:
            with self.scopes.scope("draw"):
                rgb = image if self.predictor.image_format == "RGB" else image[..., ::-1]
                panoptic_overlay(rgb, panoptic_seg, segments_info, self.predictor.classes)
        things = sum(s["isthing"] for s in segments_info) if segments_info is not None else None
        stages = self.scopes.take() if self.has_stages else {}
        return {"wall": wall, "process": process, "stages": stages, "things": things}

    def finish(self) -> Answer:
        """{"peak_memory_bytes", "loaded_memory_bytes": the same before the first run}."""
        peak = peak_memory(self.device)
        return {"peak_memory_bytes": peak, "loaded_memory_bytes": self.loaded_memory}


def open_job(task: Task) -> TorchJob:
    """Of a task of kind torch, compiled, bf16 or compiled-bf16."""
    compiled, bf16 = task.kind.startswith("compiled"), task.kind.endswith("bf16")
    words = ["TEST.COMPILE", str(compiled), "TEST.AMP.ENABLED", str(bf16)]
    cfg = open_config(task, *words, "TEST.AMP.PRECISION", "bf16")
    predictor = open_predictor(cfg, task.allow_unsafe)
    return TorchJob(predictor, task, cfg.MODEL.DEVICE, draws=True, has_stages=not compiled)


def open_config(task: Task, *overrides: str) -> CfgNode:
    """The config of a task, for one panoptic map of each image.

    Also makes this process what the task asks for: torch's threads, and freed memory that a CPU keeps.
    """
    torch.set_num_threads(task.threads)
    alone = ["TEST.AUG.ENABLED", "False", "TEST.COMPILE", "False"]
    words = [*task.overrides, *alone, *overrides]
    cfg = load_config(task.config_file, words, allow_unsafe=task.allow_unsafe)
    for_panoptic_maps(cfg)
    if cfg.MODEL.DEVICE == "cpu":
        keep_freed_memory()
    return cfg


def open_predictor(cfg: CfgNode, allow_unsafe: bool) -> Predictor:
    """With the weights ``MODEL.WEIGHTS``, and the same random ones whenever it lacks some."""
    torch.manual_seed(_SEED)
    if cfg.MODEL.WEIGHTS:
        return Predictor(cfg, allow_unsafe)
    check_device(cfg)
    return Predictor(cfg, model=build_inference_model(cfg, build_model(cfg)))
