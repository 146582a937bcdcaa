"""Reads config files of unknown origin without running code from them.

Detectron2 falls back to PyYAML's unsafe loader by default (``_BASE_`` files included), which can run any
code. Everything here refuses such files unless the caller says ``allow_unsafe=True`` (``--allow-unsafe``
on the command lines).
"""

import difflib
import os
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import yaml
from detectron2.config import CfgNode

from effps_solo.utils.errors import UNSAFE_HINT, ConfigError

from .migration import migrate
from .paths import is_saved, make_absolute

BASE_KEY = "_BASE_"
_TYPE_MISMATCH = re.compile(
    r"Type mismatch \(<class '(\w+)'> vs\. <class '(\w+)'>\) "
    r"with values \((.*) vs\. (.*)\) for config key: (\S+)",
    re.DOTALL,
)


def load_config_file(cfg: CfgNode, path: str, allow_unsafe: bool = False) -> None:
    """Merge the YAML file ``path`` and the files of its ``_BASE_`` chain into ``cfg``; see :mod:`.paths`.

    Args:
        cfg: holds every known key; changed in place, and left as it was when an error is raised.
        path: a local ``.yaml`` file in Detectron2's format; of an older version of this package, too.
        allow_unsafe: accept YAML tags that construct arbitrary Python objects.

    Raises:
        ConfigError: missing file, invalid or unsafe YAML, ``.py`` file, circular ``_BASE_``, unknown key,
            wrong type. The message names the file, and the key where there is one.
    """
    merged = cfg.clone()
    for file, content in _read_chain(path, allow_unsafe):
        if not is_saved(content):
            make_absolute(content, os.path.dirname(file))
        migrate(content, file)
        if (version := content.get("VERSION", cfg.VERSION)) != cfg.VERSION:
            raise ConfigError(
                f"config file '{file}' has VERSION {version!r}; this program reads version {cfg.VERSION}"
            )
        _check_keys(content, merged, file)
        try:
            merged.merge_from_other_cfg(CfgNode(content))
        except (AssertionError, AttributeError, KeyError, ValueError) as error:
            raise ConfigError(f"config file '{file}': {_text(error)}") from error
    if merged.MODEL.LOAD_PROPOSALS and not allow_unsafe:
        raise ConfigError(
            f"config file '{path}': MODEL.LOAD_PROPOSALS reads proposals from pickles, which can run code "
            f"when read; {UNSAFE_HINT}"
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
    known = dict(_walk(cfg))
    for key, value in zip(overrides[0::2], overrides[1::2]):
        if key not in known and not _new_key_allowed(cfg, key):
            raise ConfigError(
                f"unknown config key '{key}' on the command line{_nearest(key, known)}"
            )
        try:
            cfg.merge_from_list([key, value])
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"override '{key} {value}': {_text(error)}") from error


def _read_chain(
    path: str, allow_unsafe: bool, children: Tuple[str, ...] = ()
) -> List[Tuple[str, Dict[str, Any]]]:
    """(file, content without ``_BASE_``) of ``path`` and its ``_BASE_`` chain, bases first."""
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
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else str(error)
        raise ConfigError(f"config file '{path}': {reason}; only local files are read") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config file '{path}' is not a text file") from error
    content = _parse_yaml(text, path, allow_unsafe)
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(
            f"config file '{path}' must hold KEY: VALUE pairs, found a {type(content).__name__}"
        )
    return content


def _parse_yaml(text: str, path: str, allow_unsafe: bool) -> Any:
    try:
        return yaml.unsafe_load(text) if allow_unsafe else yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        if isinstance(error, yaml.constructor.ConstructorError) and not allow_unsafe:
            raise ConfigError(
                f"config file '{path}' uses a YAML tag that can run code and was refused ({reason}); "
                f"{UNSAFE_HINT}"
            ) from error
        raise ConfigError(f"config file '{path}' is not valid YAML: {reason}") from error


def _check_keys(content: Dict[Any, Any], cfg: CfgNode, path: str) -> None:
    """Raise ConfigError for the first key of ``content`` that ``cfg`` does not know."""
    known = dict(_walk(cfg))
    for key, is_node in _walk(content):
        if key not in known and not _new_key_allowed(cfg, key):
            raise ConfigError(f"config file '{path}': unknown key '{key}'{_nearest(key, known)}")
        if known.get(key, is_node) != is_node:
            expected = "a section with keys of its own" if known[key] else "a value"
            raise ConfigError(f"config file '{path}': key '{key}' must be {expected}")


def _walk(content: Dict[Any, Any], prefix: str = "") -> Iterator[Tuple[str, bool]]:
    """Yields (dotted key, whether it is a section), sections before what they hold."""
    for name, value in content.items():
        key = f"{prefix}{name}"
        yield key, isinstance(value, dict)
        if isinstance(value, dict):
            yield from _walk(value, f"{key}.")


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
        name = key.split(".")[-1]
        matches = [k for k in known if k.split(".")[-1] == name][:1]
    return f"; did you mean '{matches[0]}'?" if matches else ""


def _text(error: Exception) -> str:
    """yacs' message, made readable where it is about a wrong type."""
    message = str(error.args[0]) if error.args else type(error).__name__
    if not (mismatch := _TYPE_MISMATCH.search(message)):
        return message
    wanted, found, default, value, key = mismatch.groups()
    return f"key '{key}' must be a {wanted} like {default}, got the {found} {value}"
