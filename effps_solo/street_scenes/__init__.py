"""Generated street scenes in the layout of Cityscapes."""

from .cityscapes_layout import GENERATOR_VERSION, MANIFEST, SetParameters
from .generate import generate

__all__ = ["GENERATOR_VERSION", "MANIFEST", "SetParameters", "generate"]
