"""Relative paths in config files: they are seen from the folder of the file that names them.

So a config can be used from any folder, and moved with what lies beside it. Paths of a command line are seen
from the current folder, as usual, and so are those in configs that programs have saved: they were then.
"""

import ast
import os
from contextlib import suppress
from typing import Any, Dict

from effps_solo.data.datasets.files import expand

PATH_KEYS = ("OUTPUT_DIR", "MODEL.WEIGHTS", "DATASETS.PANOPTIC.ROOT", "DATASETS.DESCRIPTIONS")
# Sections of Detectron2's and of this project, which only a saved config holds.
_SAVED = ("GLOBAL", "EFFPS_SOLO")


def is_saved(content: Dict[str, Any]) -> bool:
    """Whether a program has written this file from a whole config."""
    return any(section in content for section in _SAVED)


def make_absolute(content: Dict[str, Any], folder: str) -> None:
    """Make the paths in the content of a config file absolute, seen from ``folder``, in place."""
    for key in PATH_KEYS:
        *sections, name = key.split(".")
        node: Any = content
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        if isinstance(node, dict) and name in node:
            node[name] = _seen_from(folder, node[name])


def _seen_from(folder: str, value: Any) -> Any:
    """Of a path, or of several; addresses, absolute paths and what is no path stay."""
    if isinstance(value, str) and value[:1] in ("(", "["):  # as yacs writes lists
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
    if isinstance(value, (list, tuple)):
        return [_seen_from(folder, each) for each in value]
    if not isinstance(value, str) or not value or "://" in value or os.path.isabs(expand(value)):
        return value
    return os.path.abspath(os.path.join(folder, expand(value)))
