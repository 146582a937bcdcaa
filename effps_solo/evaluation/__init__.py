"""Evaluation with Detectron2's evaluators: PQ, mIoU and AP."""

from .build import build_evaluator
from .masks import with_windowed_masks

__all__ = ["build_evaluator", "with_windowed_masks"]
