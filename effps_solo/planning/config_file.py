"""Writes choices as a YAML config, every value below its reason, and loads such a text."""

import tempfile
import textwrap
from typing import Any, Dict, List, Sequence

import yaml
from detectron2.config import CfgNode

from effps_solo.config import load_config

from .choice import Choice

_WIDTH = 110


def as_yaml(choices: Sequence[Choice], title: str) -> str:
    """The text of a config file.

    Args:
        choices: of a key that comes twice the last one counts, in the place of the first.
        title: the first comment.
    """
    tree: Dict[str, Any] = {}
    for choice in choices:
        *parents, name = choice.key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = choice
    return "\n".join([*_comment(title, 0), *_lines(tree, 0), ""])


def _lines(tree: Dict[str, Any], depth: int) -> List[str]:
    lines = []
    for name, value in tree.items():
        if isinstance(value, Choice):
            lines += _comment(value.reason, depth)
            lines.append(f"{'  ' * depth}{name}: {_scalar(value.value)}")
        else:
            lines += [f"{'  ' * depth}{name}:", *_lines(value, depth + 1)]
    return lines


def _comment(text: str, depth: int) -> List[str]:
    prefix = "  " * depth + "# "
    return [
        line
        for paragraph in text.splitlines()
        for line in textwrap.wrap(
            paragraph, _WIDTH, initial_indent=prefix, subsequent_indent=prefix
        )
    ]


def _scalar(value: Any) -> str:
    """One line of YAML; a tuple is a string in it, which Detectron2 reads as a tuple."""
    if isinstance(value, tuple):
        return repr(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def load_text(text: str, folder: str, overrides: Sequence[str] = ()) -> CfgNode:
    """Load a config as if ``text`` were a file in ``folder``; see :func:`effps_solo.config.load_config`."""
    with tempfile.NamedTemporaryFile(
        "w", dir=folder, prefix=".", suffix=".yaml", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        return load_config(file.name, overrides)
