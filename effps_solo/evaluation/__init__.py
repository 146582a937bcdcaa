"""Evaluation with Detectron2's evaluators: PQ, mIoU and AP."""

from .build import build_evaluator

__all__ = ["build_evaluator"]
