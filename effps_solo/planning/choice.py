"""A value of the config with its reason."""

from typing import Any, NamedTuple


class Choice(NamedTuple):
    """One line of the config.

    Attributes:
        key: as in ``cfg``, with dots.
        value: what YAML holds; tuples are written as Detectron2 writes them.
        reason: what it follows from, a sentence with its numbers; "" where that of the line above covers it.
    """

    key: str
    value: Any
    reason: str = ""
