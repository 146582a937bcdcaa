"""The semantic head of EfficientPS."""

from .head import EfficientPSSemanticHead

__all__ = ["EfficientPSSemanticHead"]
