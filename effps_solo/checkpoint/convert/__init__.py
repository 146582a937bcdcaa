"""Published checkpoints of EfficientPS, SOLOv2 and timm's EfficientNets -> state dicts of this project."""

from .layouts import AUTO, LAYOUTS, convert_checkpoint, detect_layout
from .report import ConversionReport
from .target import fit_to_model, settings_conflicts

__all__ = [
    "AUTO",
    "LAYOUTS",
    "ConversionReport",
    "convert_checkpoint",
    "detect_layout",
    "fit_to_model",
    "settings_conflicts",
]
