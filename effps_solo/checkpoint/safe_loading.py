"""Reads configs and checkpoints that somebody else made without running code from them.

Detectron2 falls back to PyYAML's unsafe loader by default (``_BASE_`` files included) and unpickles
``.pkl`` checkpoints. Both can run any code. Everything here refuses such files unless the caller says
``allow_unsafe=True`` (``--allow-unsafe`` on the command lines).
"""

import difflib
import os
import pickle
import re
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import torch
import yaml
from detectron2.config import CfgNode

from effps_solo.utils.errors import CheckpointError, ConfigError

__all__ = [
    "CheckpointError",
    "ConfigError",
    "load_config_file",
    "merge_overrides",
    "read_config_files",
    "safe_load_checkpoint",
]

BASE_KEY = "_BASE_"
_TYPE_MISMATCH = re.compile(
    r"Type mismatch \(<class '(\w+)'> vs\. <class '(\w+)'>\) "
    r"with values \((.*) vs\. (.*)\) for config key: (\S+)",
    re.DOTALL,
)
_UNSAFE_HINT = "pass --allow-unsafe (allow_unsafe=True) only if you trust whoever made it"


def load_config_file(cfg: CfgNode, path: str, allow_unsafe: bool = False) -> None:
    """Merge the YAML file ``path`` and the files of its ``_BASE_`` chain into ``cfg``.

    Args:
        cfg: holds every known key; changed in place, and left as it was when an error is raised.
        path: a local ``.yaml`` file in Detectron2's format.
        allow_unsafe: accept YAML tags that construct arbitrary Python objects.

    Raises:
        ConfigError: missing file, invalid or unsafe YAML, ``.py`` file, circular ``_BASE_``, unknown key,
            wrong type. The message names the file, and the key where there is one.
    """
    merged = cfg.clone()
    for file, content in read_config_files(path, allow_unsafe):
        _check_version(content, merged, file)
        _check_keys(content, merged, file)
        try:
            merged.merge_from_other_cfg(CfgNode(content))
        except (AssertionError, AttributeError, KeyError, ValueError) as error:
            raise ConfigError(f"config file '{file}': {_text(error)}") from error
    if merged.MODEL.LOAD_PROPOSALS and not allow_unsafe:
        raise ConfigError(
            f"config file '{path}': MODEL.LOAD_PROPOSALS reads proposals from pickles, which can run code "
            f"when read; {_UNSAFE_HINT}"
        )
    cfg.clear()
    cfg.update(merged)


def merge_overrides(cfg: CfgNode, overrides: Sequence[str]) -> None:
    """Merge ``KEY VALUE KEY VALUE ...`` of a command line into ``cfg``, in place.

    Values are read as Python literals where they are such, and else as strings; nothing is evaluated.

    Raises:
        ConfigError: an odd number of words, an unknown key, or a value of the wrong type.
    """
    if len(overrides) % 2:
        raise ConfigError(
            f"overrides come in pairs KEY VALUE, got {len(overrides)} words: {' '.join(overrides)}"
        )
    known = _known_keys(cfg)
    for key, value in zip(overrides[0::2], overrides[1::2]):
        if key not in known and not _new_key_allowed(cfg, key):
            raise ConfigError(
                f"unknown config key '{key}' on the command line{_nearest(key, known)}"
            )
        try:
            cfg.merge_from_list([key, value])
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"override '{key} {value}': {_text(error)}") from error


def read_config_files(path: str, allow_unsafe: bool = False) -> List[Tuple[str, Dict[str, Any]]]:
    """Read ``path`` and its ``_BASE_`` chain.

    Returns:
        (file, content without ``_BASE_``) for every file, each base before what builds on it.

    Raises:
        ConfigError: missing file, invalid or unsafe YAML, ``.py`` file, circular ``_BASE_``.
    """
    return _read_chain(path, allow_unsafe, ())


def _read_chain(
    path: str, allow_unsafe: bool, children: Tuple[str, ...]
) -> List[Tuple[str, Dict[str, Any]]]:
    path = os.path.expanduser(path)
    identity = os.path.realpath(path)
    if identity in children:
        raise ConfigError(f"config file '{path}': its {BASE_KEY} chain leads back to itself")
    content = _read_yaml(path, allow_unsafe)
    bases = content.pop(BASE_KEY, [])
    bases = bases if isinstance(bases, list) else [bases]
    files: List[Tuple[str, Dict[str, Any]]] = []
    for base in bases:
        if not isinstance(base, str):
            raise ConfigError(
                f"config file '{path}': {BASE_KEY} must be a file name or a list of them, got {base!r}"
            )
        location = os.path.join(os.path.dirname(path), os.path.expanduser(base))
        files += _read_chain(location, allow_unsafe, (*children, identity))
    return [*files, (path, content)]


def _read_yaml(path: str, allow_unsafe: bool) -> Dict[str, Any]:
    if path.endswith(".py"):
        raise ConfigError(
            f"config file '{path}' is a Python program; only YAML configs are read, since a program "
            "could do anything on this machine"
        )
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else str(error)
        raise ConfigError(f"config file '{path}': {reason}; only local files are read") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config file '{path}' is not a text file") from error
    content = _parse_yaml(text, path, allow_unsafe)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"config file '{path}' must hold KEY: VALUE pairs, found a {type(content).__name__}"
        )
    return content


def _parse_yaml(text: str, path: str, allow_unsafe: bool) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.constructor.ConstructorError as error:
        if not allow_unsafe:
            raise ConfigError(
                f"config file '{path}' uses a YAML tag that can run code and was refused "
                f"({' '.join(str(error).split())}); {_UNSAFE_HINT}"
            ) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(
            f"config file '{path}' is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    try:
        return yaml.unsafe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config file '{path}' is not valid YAML: {error}") from error


def _check_version(content: Dict[str, Any], cfg: CfgNode, path: str) -> None:
    version = content.get("VERSION", cfg.VERSION)
    if version != cfg.VERSION:
        raise ConfigError(
            f"config file '{path}' has VERSION {version!r}; this program reads version {cfg.VERSION}"
        )


def _check_keys(content: Dict[Any, Any], cfg: CfgNode, path: str) -> None:
    """Raise ConfigError for the first key of ``content`` that ``cfg`` does not know."""
    known = _known_keys(cfg)
    for key, is_node in _walk(content):
        if key not in known:
            if _new_key_allowed(cfg, key):
                continue
            raise ConfigError(f"config file '{path}': unknown key '{key}'{_nearest(key, known)}")
        if known[key] != is_node:
            expected = "a section with keys of its own" if known[key] else "a value"
            raise ConfigError(f"config file '{path}': key '{key}' must be {expected}")


def _walk(content: Dict[Any, Any], prefix: str = "") -> Iterator[Tuple[str, bool]]:
    """Yields (dotted key, whether it is a section), sections before what they hold."""
    for name, value in content.items():
        key = f"{prefix}{name}"
        yield key, isinstance(value, dict)
        if isinstance(value, dict):
            yield from _walk(value, f"{key}.")


def _known_keys(cfg: CfgNode) -> Dict[str, bool]:
    """Dotted key -> whether it is a section."""
    return dict(_walk(cfg))


def _new_key_allowed(cfg: CfgNode, key: str) -> bool:
    """Whether yacs takes ``key`` although ``cfg`` lacks it: deprecated, renamed or in an open section."""
    if cfg.key_is_deprecated(key) or cfg.key_is_renamed(key):
        return True
    node: Any = cfg
    for name in key.split("."):
        if not isinstance(node, CfgNode):
            return False
        if name not in node:
            return bool(node.is_new_allowed())
        node = node[name]
    return False


def _nearest(key: str, known: Dict[str, bool]) -> str:
    """'; did you mean ...?', or '' when nothing is near."""
    matches = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not matches:  # the right name in the wrong section
        name = key.rsplit(".", 1)[-1]
        matches = [k for k in known if k.rsplit(".", 1)[-1] == name][:1]
    return f"; did you mean '{matches[0]}'?" if matches else ""


def _text(error: Exception) -> str:
    """yacs' message, made readable where it is about a wrong type."""
    message = str(error.args[0]) if error.args else type(error).__name__
    mismatch = _TYPE_MISMATCH.search(message)
    if not mismatch:
        return message
    wanted, found, default, value, key = mismatch.groups()
    return f"key '{key}' must be a {wanted} like {default}, got the {found} {value}"


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
    if path.endswith(".pkl"):
        loaded = _load_pickle(path, allow_unsafe)
    else:
        loaded = _load_torch(path, allow_unsafe)
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
            f"use a .pth or .safetensors file, or {_UNSAFE_HINT}"
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
                f"read, and was refused ({refused}); {_UNSAFE_HINT}"
            ) from error
        summary = str(error).strip().splitlines()[:1] or [type(error).__name__]
        detail = "" if summary[0].startswith("Weights only load failed") else f" ({summary[0]})"
        raise CheckpointError(
            f"checkpoint '{path}' is truncated, damaged or no checkpoint{detail}"
        ) from error


def _refused_object(message: str, path: str) -> str:
    """What torch's weights-only unpickler refused, or "" when it failed for another reason."""
    found = re.search(r"unsupported (?:global: global|global|class) (\S+)", message, re.IGNORECASE)
    if found:
        return found[1]
    with open(path, "rb") as file:
        is_pickle = file.read(1) == pickle.PROTO
    # An instruction that torch.save never writes: a pickle of something else, if it is a pickle at all.
    return "a plain pickle" if is_pickle and "Unsupported operand" in message else ""
