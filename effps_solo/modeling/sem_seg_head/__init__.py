"""Semantic heads: the contract, EfficientPS's head, and the building of any."""

from .base import SemanticHead
from .build import build_semantic_head
from .head import EfficientPSSemanticHead

__all__ = ["EfficientPSSemanticHead", "SemanticHead", "build_semantic_head"]
