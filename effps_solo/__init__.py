"""EfficientPS with a SOLOv2 instance head: a Detectron2 project for panoptic segmentation.

``from effps_solo import load`` opens a model to call with images; ``add_effps_solo_config`` registers
every backbone, head, fusion and the meta-architecture with Detectron2. Nothing heavy is imported
before that, so that the command line can say what is missing on a machine where Detectron2 or torch
do not load, and exported models run without them.
"""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from .utils.version import __version__

if TYPE_CHECKING:
    from .config import add_effps_solo_config
    from .inference.load import load
    from .inference.result import PanopticResult
    from .modeling.meta_arch import EfficientPS
    from .utils.machine import keep_freed_memory

# fvcore compiles two losses so when it is imported; no user can do anything about it.
warnings.filterwarnings(
    "ignore", message=".*torch.jit.script. is deprecated", category=FutureWarning
)

__all__ = [
    "EfficientPS",
    "PanopticResult",
    "__version__",
    "add_effps_solo_config",
    "keep_freed_memory",
    "load",
]

_MODULE_OF = {
    "EfficientPS": ".modeling.meta_arch",
    "PanopticResult": ".inference.result",
    "add_effps_solo_config": ".config",
    "keep_freed_memory": ".utils.machine",
    "load": ".inference.load",
}
_WITHOUT_DETECTRON2 = ("PanopticResult", "keep_freed_memory", "load")


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _WITHOUT_DETECTRON2:
        importlib.import_module(".config", __name__)  # registers all that a config can name
    return getattr(importlib.import_module(_MODULE_OF[name], __name__), name)
