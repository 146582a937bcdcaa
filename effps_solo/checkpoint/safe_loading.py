"""Reads checkpoints of unknown origin without running code from them.

Detectron2 unpickles ``.pkl`` checkpoints, which can run any code. Everything here refuses such files
unless the caller says ``allow_unsafe=True`` (``--allow-unsafe`` on the command lines).
"""

import os
import pickle
import re
from typing import Any, Dict

import torch

from effps_solo.utils.errors import UNSAFE_HINT, CheckpointError


def safe_load_checkpoint(path: str, allow_unsafe: bool = False) -> Dict[str, Any]:
    """Read a checkpoint file onto the CPU.

    Args:
        path: local ``.safetensors`` or file of ``torch.save``; ``.pkl`` only with ``allow_unsafe``.
        allow_unsafe: unpickle arbitrary objects.

    Returns:
        the file's dictionary as it is: a whole checkpoint or a state dict.

    Raises:
        CheckpointError: missing, truncated, no checkpoint, or one that could run code.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"checkpoint '{path}' does not exist or is not a file")
    if path.endswith(".safetensors"):
        return _load_safetensors(path)
    load = _load_pickle if path.endswith(".pkl") else _load_torch
    loaded = load(path, allow_unsafe)
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"checkpoint '{path}' holds a {type(loaded).__name__}, not a dictionary of tensors"
        )
    return loaded


def _load_safetensors(path: str) -> Dict[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"checkpoint '{path}' needs the package safetensors: pip install safetensors"
        ) from error
    try:
        return dict(load_file(path, device="cpu"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint '{path}' is damaged: {error}") from error


def _load_pickle(path: str, allow_unsafe: bool) -> Any:
    if not allow_unsafe:
        raise CheckpointError(
            f"checkpoint '{path}' is a pickle, which can run any code when read, and was refused; "
            f"use a .pth or .safetensors file, or {UNSAFE_HINT}"
        )
    try:
        with open(path, "rb") as file:
            return pickle.load(file, encoding="latin1")
    except Exception as error:  # a broken pickle can raise anything
        raise CheckpointError(f"checkpoint '{path}' cannot be unpickled: {error}") from error


def _load_torch(path: str, allow_unsafe: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=not allow_unsafe)
    except Exception as error:  # a damaged or hostile file makes the unpickler raise anything
        refused = _refused_object(str(error), path)
        if refused and not allow_unsafe:
            raise CheckpointError(
                f"checkpoint '{path}' holds more than tensors and plain values, which can run code when "
                f"read, and was refused ({refused}); {UNSAFE_HINT}"
            ) from error
        summary = str(error).strip().splitlines()[:1] or [type(error).__name__]
        detail = "" if summary[0].startswith("Weights only load failed") else f" ({summary[0]})"
        raise CheckpointError(
            f"checkpoint '{path}' is truncated, damaged or no checkpoint{detail}"
        ) from error


def _refused_object(message: str, path: str) -> str:
    """What torch's weights-only unpickler refused, or "" when it failed for another reason."""
    pattern = r"unsupported (?:global: global|global|class) (\S+)"
    if found := re.search(pattern, message, re.IGNORECASE):
        return found[1]
    with open(path, "rb") as file:
        is_pickle = file.read(1) == pickle.PROTO
    # An instruction that torch.save never writes: a pickle of something else, if it is a pickle at all.
    return "a plain pickle" if is_pickle and "Unsupported operand" in message else ""
