"""Training on Detectron2's trainer."""

import logging
import os
import sys
import weakref
from typing import Any, Callable, Dict, List, Type

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn

from effps_solo.checkpoint.checkpointer import EMA_KEY, EffPSCheckpointer
from effps_solo.config import classes_of_data
from effps_solo.data.build import build_test_loader, build_train_loader
from effps_solo.data.mapper import PanopticDatasetMapper
from effps_solo.evaluation import build_evaluator, with_windowed_masks
from effps_solo.modeling.precision import Precision
from effps_solo.utils.errors import CheckpointError, ConfigError

from .activation_checkpointing import checkpoint_activations
from .best import BestCheckpointer
from .distributed import distribute, unwrap
from .early_stopping import EarlyStopping, StoppedEarly
from .ema import ModelEMA
from .failures import explained
from .guard import NonFiniteGuard
from .hooks import averaged_model, build_writers, own_hooks
from .loop import TrainingLoop
from .model_folder import ModelFolderWriter
from .object_sizes import tell_of_unlearned_sizes
from .schedule import build_lr_scheduler, scale_learning_rate
from .signals import StopSignals, TrainingStopped, name_of
from .stopping import Interruptible, StopHook
from .validation_loss import ValidationLoss

logger = logging.getLogger(__name__)

_MAIN_SCORES = ("/PQ", "/mIoU", "/AP")
_BACKBONE_PREFIX = "backbone.bottom_up"


class Trainer(DefaultTrainer):
    """Detectron2's DefaultTrainer with this project's data, evaluators, optimiser and checkpoints."""

    def __init__(self, cfg: CfgNode, allow_unsafe: bool = False) -> None:
        """``allow_unsafe``: load a ``MODEL.WEIGHTS`` that can run code."""
        TrainerBase.__init__(self)
        cfg = scale_learning_rate(cfg)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        if cfg.SOLVER.ACTIVATION_CHECKPOINTING:
            checkpoint_activations(model)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        ranges = getattr(getattr(model, "instance_head", None), "scale_ranges", None)
        if ranges and comm.is_main_process():
            tell_of_unlearned_sizes(data_loader.dataset, ranges, data_loader.seed)
        max_skipped = cfg.SOLVER.MAX_NONFINITE_STEPS
        guard = NonFiniteGuard(model, output_dir=cfg.OUTPUT_DIR, max_skipped=max_skipped)
        self.ema = ModelEMA(model, cfg.SOLVER.EMA.DECAY) if cfg.SOLVER.EMA.ENABLED else None
        model = distribute(model)
        self._trainer = TrainingLoop(
            model,
            data_loader,
            optimizer,
            precision=Precision.from_config(cfg),
            num_micro_batches=cfg.SOLVER.ACCUMULATION_STEPS,
            guard=guard,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        state = {"trainer": weakref.proxy(self), **averaged_model(self.ema)}
        self.checkpointer = EffPSCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            allow_unsafe=allow_unsafe,
            classes=classes_of_data(cfg),
            **state,
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.stop_signals = StopSignals()
        self.register_hooks(self.build_hooks())

    def build_hooks(self) -> List[HookBase]:
        return own_hooks(super().build_hooks(), self)

    def build_writers(self) -> List[EventWriter]:
        return build_writers(self.cfg)

    def evaluate(self) -> Dict[str, Any]:
        """The results of the model on ``DATASETS.TEST``, under "ema" those of the averaged one, and under
        "validation" the losses of the former.
        """
        results = self._test(self.model, "inference")
        if self.ema:
            averaged = self._test(self.ema.model, f"inference_{EMA_KEY}")
            if comm.is_main_process():
                results[EMA_KEY] = averaged
        self._last_eval_results = results
        validation_loss = ValidationLoss(self.cfg, self._trainer.precision)
        losses = validation_loss(unwrap(self.model), self._before_image)
        return {**results, "validation": losses} if losses else results

    def _before_image(self, is_last: bool) -> None:
        """A signal ends the validation losses at the next image, in all processes."""
        if is_last or self.stop_signals.received:
            self._stop_hook.stop_if_asked()

    @property
    def _stop_hook(self) -> StopHook:
        return next(hook for hook in self._hooks if isinstance(hook, StopHook))

    def _test(self, model: nn.Module, folder: str) -> Dict[str, Any]:
        """:meth:`test` of a state of the training, which a signal can stop."""
        cfg = self.cfg
        evaluators = [
            self.build_evaluator(cfg, name, os.path.join(cfg.OUTPUT_DIR, folder, name))
            for name in cfg.DATASETS.TEST
        ]
        return self.test(
            cfg,
            model,
            [
                Interruptible(e, self.stop_signals, self._stop_hook.stop_if_asked)
                for e in evaluators
            ],
        )

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> Dict[str, Any]:
        """See Detectron2; masks of instances are not in memory as a whole."""
        results: Dict[str, Any] = super().test(cfg, with_windowed_masks(unwrap(model)), evaluators)
        scores = {
            k: v for k, v in flatten_results_dict(results).items() if k.endswith(_MAIN_SCORES)
        }
        if scores:
            logger.info("Results: %s", ", ".join(f"{k} {v:.2f}" for k, v in scores.items()))
        return results

    def resume_or_load(self, resume: bool = True) -> None:
        """See Detectron2; training goes on with the random numbers and the data of its last run.

        Raises CheckpointError when the processes found different checkpoints.
        """
        super().resume_or_load(resume)
        if len(set(comm.all_gather(self.start_iter))) > 1:
            raise CheckpointError(
                f"the processes do not find the same last checkpoint in '{self.cfg.OUTPUT_DIR}'; "
                "OUTPUT_DIR must be one folder that all machines see"
            )
        if resume and self.start_iter >= self.max_iter:
            logger.warning(
                "All %d iterations are done: it is only evaluated once more. To train on, raise "
                "SOLVER.MAX_ITER",
                self.max_iter,
            )

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Go on from a checkpoint, with the learning rate of the config."""
        super().load_state_dict(state_dict)
        groups = self.optimizer.param_groups
        self.scheduler.base_lrs = [group["initial_lr"] for group in groups]
        for group, rate in zip(groups, self.scheduler.get_lr()):
            group["lr"] = rate

    def train(self) -> Any:
        """See Detectron2.

        Raises:
            TrainingStopped: SIGTERM or Ctrl-C came; there is a checkpoint to resume from.
        """
        early = [hook for hook in self._hooks if isinstance(hook, EarlyStopping)]
        if any(hook.is_due_before(self.start_iter) for hook in early):
            early[0].tell()
            return None
        with self.stop_signals:
            try:
                return super().train()
            except StoppedEarly:
                early[0].tell()
                return None
            except TrainingStopped as stopped:
                logger.info(
                    "Stopped by %s after %d of %d iterations; the last checkpoint is in %s. To go on: the "
                    "same command with --resume",
                    name_of(stopped.number),
                    min(self.iter + 1, self.max_iter),
                    self.max_iter,
                    self.cfg.OUTPUT_DIR,
                )
                raise

    def run_step(self) -> None:
        self._trainer.seed_key = (self.data_loader.seed, self.iter, comm.get_rank())
        with explained(self.cfg.OUTPUT_DIR):
            super().run_step()

    def after_step(self) -> None:
        with explained(self.cfg.OUTPUT_DIR):
            super().after_step()

    def after_train(self) -> None:
        failure = sys.exc_info()[1]
        if failure is not None and not isinstance(failure, StoppedEarly):
            # They look at the iteration alone, which may be the last.
            last = (hooks.EvalHook, BestCheckpointer, ModelFolderWriter)
            self._hooks[:] = [hook for hook in self._hooks if not isinstance(hook, last)]
        try:
            with explained(self.cfg.OUTPUT_DIR):
                super().after_train()
        except TrainingStopped:
            for hook in self._hooks:
                if isinstance(hook, hooks.PeriodicWriter):
                    hook.after_train()
            raise
        except Exception as error:
            if failure is None:
                raise
            # What ended the training matters more than what it has left undone.
            logger.warning("After the failure: %s: %s", type(error).__name__, error)

    build_train_loader = staticmethod(build_train_loader)
    build_lr_scheduler = staticmethod(build_lr_scheduler)
    build_evaluator = staticmethod(build_evaluator)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        return build_test_loader(cfg, dataset_name, PanopticDatasetMapper(cfg, is_train=False))

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """``SOLVER.OPTIMIZER``, ConfigError if unknown; ``SOLVER.WEIGHT_DECAY_NORM`` on the norms."""
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
        arguments = {"lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY}
        if solver.OPTIMIZER == "SGD":
            sgd = _with_clipping(cfg, torch.optim.SGD)
            return sgd(parameters, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV, **arguments)
        if solver.OPTIMIZER == "AdamW":
            # One pass over all parameters instead of a dozen over each. Not with SGD, whose fused step
            # fails on a parameter that has its first gradient later than the others.
            if torch.device(cfg.MODEL.DEVICE).type == "cpu":
                arguments["fused"] = True
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
