"""EfficientPS with a SOLOv2 instance head: a Detectron2 project for panoptic segmentation.

``from effps_solo import load`` opens a model to call with images; ``add_effps_solo_config`` registers
every backbone, head, fusion and the meta-architecture with Detectron2. Nothing heavy is imported
before that, so that the command line can say what is missing on a machine where Detectron2 or torch
do not load, and exported models run without them.
"""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import add_effps_solo_config
    from .meta_arch import EfficientPS
    from .panoptic_model import load
    from .result import PanopticResult

# fvcore compiles two losses so when it is imported; no user can do anything about it.
warnings.filterwarnings(
    "ignore", message=".*torch.jit.script. is deprecated", category=FutureWarning
)

__version__ = "0.1.0"
__all__ = ["EfficientPS", "PanopticResult", "add_effps_solo_config", "load"]

_MODULE_OF = {
    "EfficientPS": ".meta_arch",
    "PanopticResult": ".result",
    "add_effps_solo_config": ".config",
    "load": ".panoptic_model",
}
_WITHOUT_DETECTRON2 = ("PanopticResult", "load")


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _WITHOUT_DETECTRON2:
        _register()
    return getattr(importlib.import_module(_MODULE_OF[name], __name__), name)


def _register() -> None:
    """Fill Detectron2's registries by importing the meta-architecture and all that it can build."""
    try:
        importlib.import_module("detectron2")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "effps_solo needs Detectron2. In a checkout `make venv` installs it; elsewhere see the "
            "section 'Installation' of the README.",
            name="detectron2",
        ) from error
    parts = ("backbone", "sem_seg_head", "instance_head", "fusion", "meta_arch", "panoptic_fpn")
    for module in parts:
        importlib.import_module(f"{__name__}.{module}")
