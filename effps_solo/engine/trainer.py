"""Training on Detectron2's trainer."""

import weakref
from typing import Any, Callable, Dict, List, Optional, Type

import torch
from detectron2.config import CfgNode
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.engine import DefaultTrainer, TrainerBase
from detectron2.engine.defaults import create_ddp_model
from detectron2.evaluation import DatasetEvaluator
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from detectron2.utils import comm
from torch import nn

from ..checkpoint.checkpointer import EffPSCheckpointer
from ..data.annotations_mapper import AnnotationsDatasetMapper
from ..data.datasets import check_dataset_available
from ..data.mapper import PanopticDatasetMapper
from ..errors import ConfigError
from ..evaluation import build_evaluator
from .activation_checkpointing import checkpoint_activations
from .loop import TrainingLoop
from .precision import Precision
from .schedule import build_lr_scheduler, scale_learning_rate

_BACKBONE_PREFIX = "backbone.bottom_up"


class Trainer(DefaultTrainer):
    """Detectron2's DefaultTrainer with this project's data, evaluators, optimiser and checkpoints."""

    def __init__(self, cfg: CfgNode, allow_unsafe: bool = False) -> None:
        """
        Args:
            cfg: the whole config.
            allow_unsafe: load a ``MODEL.WEIGHTS`` that can run code.
        """
        TrainerBase.__init__(self)
        cfg = scale_learning_rate(cfg)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        if cfg.SOLVER.ACTIVATION_CHECKPOINTING:
            checkpoint_activations(model)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        model = create_ddp_model(model, broadcast_buffers=False)
        self._trainer = TrainingLoop(
            model, data_loader, optimizer, precision=Precision.from_config(cfg)
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = EffPSCheckpointer(
            model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self), allow_unsafe=allow_unsafe
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        for name in cfg.DATASETS.TRAIN:
            check_dataset_available(name)
        dataset = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=False)
        return build_detection_train_loader(
            cfg,
            mapper=build_train_mapper(cfg, dataset),
            dataset=dataset,
            sampler=_repeat_factor_sampler(cfg, dataset),
        )

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        check_dataset_available(dataset_name)
        mapper = PanopticDatasetMapper(cfg, is_train=False)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str = ""
    ) -> DatasetEvaluator:
        return build_evaluator(cfg, dataset_name, output_folder or None)

    @classmethod
    def build_lr_scheduler(
        cls, cfg: CfgNode, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """``SOLVER.OPTIMIZER`` over all parameters; ``SOLVER.WEIGHT_DECAY_NORM`` on the norms.

        Raises:
            ConfigError: unknown optimiser.
        """
        solver = cfg.SOLVER
        parameters = get_default_optimizer_params(
            model,
            base_lr=solver.BASE_LR,
            weight_decay_norm=solver.WEIGHT_DECAY_NORM,
            bias_lr_factor=solver.BIAS_LR_FACTOR,
            weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
            lr_factor_func=lambda name: (
                solver.BACKBONE_MULTIPLIER if name.startswith(_BACKBONE_PREFIX) else 1.0
            ),
        )
        return _build_optimizer(cfg, parameters)


def build_train_mapper(
    cfg: CfgNode, dataset: List[Dict[str, Any]]
) -> Callable[..., Dict[str, Any]]:
    """The mapper for panoptic PNGs, or for ``annotations`` where the data set has none."""
    if "pan_seg_file_name" in dataset[0]:
        return PanopticDatasetMapper(cfg, is_train=True)
    return AnnotationsDatasetMapper.from_config(cfg, is_train=True)


def _repeat_factor_sampler(
    cfg: CfgNode, dataset: List[Dict[str, Any]]
) -> Optional[RepeatFactorTrainingSampler]:
    """Detectron2's sampler that repeats images with rare classes, if the config names it.

    Detectron2 itself reads the classes of ``annotations``, which panoptic dicts lack.
    """
    named = cfg.DATALOADER.SAMPLER_TRAIN == RepeatFactorTrainingSampler.__name__
    if not named or "segments_info" not in dataset[0]:
        return None
    classes = [{"annotations": record["segments_info"]} for record in dataset]
    return RepeatFactorTrainingSampler(
        RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            classes, cfg.DATALOADER.REPEAT_THRESHOLD
        )
    )


def _build_optimizer(cfg: CfgNode, parameters: List[Dict[str, Any]]) -> torch.optim.Optimizer:
    solver = cfg.SOLVER
    arguments = {"lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY}
    if solver.OPTIMIZER == "SGD":
        sgd = _with_clipping(cfg, torch.optim.SGD)
        return sgd(parameters, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV, **arguments)
    if solver.OPTIMIZER == "AdamW":
        return _with_clipping(cfg, torch.optim.AdamW)(parameters, **arguments)
    raise ConfigError(f"SOLVER.OPTIMIZER is '{solver.OPTIMIZER}'; choose SGD or AdamW")


def _with_clipping(
    cfg: CfgNode, optimizer_type: Type[torch.optim.Optimizer]
) -> Callable[..., torch.optim.Optimizer]:
    """``optimizer_type`` that clips gradients as ``SOLVER.CLIP_GRADIENTS`` says.

    Detectron2's types clip every parameter alone; "full_model" clips the L2 norm of all together,
    as both papers do.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED or clip.CLIP_TYPE != "full_model":
        return maybe_add_gradient_clipping(cfg, optimizer_type)

    class FullModelClipping(optimizer_type):
        def step(self, closure: Any = None) -> Any:
            every = [p for group in self.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(every, clip.CLIP_VALUE)
            return super().step(closure)

    return FullModelClipping
