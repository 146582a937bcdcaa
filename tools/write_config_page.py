#!/usr/bin/env python3
"""Write docs/config.md, the page of all config keys, from the comments of effps_solo/config/defaults.py.

python tools/write_config_page.py

A key has the comment above it, or the one at the end of its line, or that of the key above it. A section is a
function; its title is the docstring, but for the public one.
"""

import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Tuple

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path("effps_solo", "config", "defaults.py")
PAGE = Path("docs", "config.md")
INTRODUCTION = """# Config keys

Every key that this project adds to Detectron2's or gives another default, with that default. Others are on
[a page of Detectron2](https://detectron2.readthedocs.io/en/latest/modules/config.html#config-references). A
config file sets them as YAML, a command line as `KEY VALUE`; relative paths in a file start at its folder.

(Written by `tools/write_config_page.py` from the comments of `effps_solo/config/defaults.py`: change those.)
"""
_KEY = re.compile(r"(?<!\w)\$?[A-Z][A-Z0-9]*(?:[._][A-Z0-9]+)+(?:\[\d\])?(?!\w)")
_MARKUP = str.maketrans({"<": "&lt;", ">": "&gt;", "*": r"\*", "`": r"\`"})


@dataclass
class Entry:
    """A comment and the keys with their defaults that it is for; a note on the section has none."""

    text: str
    keys: List[Tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        text = _KEY.sub(r"`\g<0>`", self.text.translate(_MARKUP))
        return "- " + "<br>\n  ".join([*(f"`{key}`: `{value}`" for key, value in self.keys), text])


def main() -> None:
    """Write the page."""
    source = (ROOT / SOURCE).read_text(encoding="utf-8")
    (ROOT / PAGE).write_text(config_page(source), encoding="utf-8")


def config_page(source: str) -> str:
    """The page of a module of functions that set keys of ``cfg``.

    Raises:
        ValueError: a key without a comment, or a function without a docstring.
    """
    comments = _comments(source)
    parts = [INTRODUCTION]
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        title = ast.get_docstring(function) if function.name.startswith("_") else "General"
        if not title:
            raise ValueError(f"{function.name} has no docstring; it is the title of the section")
        entries = "\n".join(map(str, _entries(function, source, comments)))
        parts.append(f"## {title.rstrip('.')}\n\n{entries}\n")
    return "\n".join(parts)


def _comments(source: str) -> Dict[int, str]:
    """Line -> its comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _entries(function: ast.FunctionDef, source: str, comments: Dict[int, str]) -> List[Entry]:
    """In the order of the lines. A blank line ends what a comment is for."""
    assignments = {s.lineno: s for s in function.body if isinstance(s, ast.Assign)}
    lines = source.splitlines()
    entries: List[Entry] = []
    is_open = False
    for number in range(function.lineno, (function.end_lineno or 0) + 1):
        line = lines[number - 1].strip()
        if line.startswith("#"):
            if is_open and lines[number - 2].strip().startswith("#"):
                entries[-1].text += f" {comments[number]}"
            else:
                entries.append(Entry(comments[number]))
            is_open = True
        elif not line:
            is_open = False
        elif number in assignments:
            assignment = assignments[number]
            at_the_end = comments.get(assignment.end_lineno or number)
            if at_the_end:
                entries.append(Entry(at_the_end))
                is_open = True
            key = ast.unparse(assignment.targets[0]).removeprefix("cfg.")
            value = " ".join((ast.get_source_segment(source, assignment.value) or "").split())
            if value == "CN()":
                continue
            if not is_open:
                raise ValueError(f"{key} has no comment")
            entries[-1].keys.append((key, value))
    return entries


if __name__ == "__main__":
    main()
