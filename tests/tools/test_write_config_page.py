"""The page of config keys is that of the comments, and has every key."""

import runpy
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from detectron2.config import CfgNode, get_cfg

from effps_solo.config.defaults import add_effps_solo_config

EXAMPLE = '''
def add_config(cfg):
    """Add all."""
    cfg.A = CN()
    # Its name.
    cfg.A.NAME = "x"
    _add_more(cfg)


def _add_more(cfg):
    """More keys."""
    # Two numbers <of
    # A.NAME>.
    cfg.B = CN()
    cfg.B.FIRST = 1
    cfg.B.SECOND = [
        2,
        3,
    ]
    # A note.
    cfg.B.THIRD = ""  # No # sign.
    cfg.B.FOURTH = ""

'''
SECTIONS = """
## General

- `A.NAME`: `"x"`<br>
  Its name.

## More keys

- `B.FIRST`: `1`<br>
  `B.SECOND`: `[ 2, 3, ]`<br>
  Two numbers &lt;of `A.NAME`&gt;.
- A note.
- `B.THIRD`: `""`<br>
  `B.FOURTH`: `""`<br>
  No # sign.
"""


@pytest.fixture
def config_page(project_root: Path) -> Callable[[str], str]:
    tool = runpy.run_path(str(project_root / "tools" / "write_config_page.py"))
    page: Callable[[str], str] = tool["config_page"]
    return page


def test_sections_keys_and_notes(config_page: Callable[[str], str]) -> None:
    page = config_page(EXAMPLE)
    assert page.endswith(SECTIONS)
    assert config_page("") == page.removesuffix(SECTIONS)


def test_what_has_no_comment_or_title_is_refused(config_page: Callable[[str], str]) -> None:
    with pytest.raises(ValueError, match="B.FIFTH has no comment"):
        config_page(f"{EXAMPLE}    cfg.B.FIFTH = 5\n")
    with pytest.raises(ValueError, match="_add_more has no docstring"):
        config_page(EXAMPLE.replace('"""More keys."""', ""))


def flat(node: CfgNode, prefix: str = "") -> Dict[str, Any]:
    values: Dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, CfgNode):
            values.update(flat(value, f"{prefix}{key}."))
        else:
            values[prefix + key] = value
    return values


def test_the_page_is_up_to_date_and_has_every_key(
    config_page: Callable[[str], str], project_root: Path
) -> None:
    source = (project_root / "effps_solo" / "config" / "defaults.py").read_text()
    page = (project_root / "docs" / "config.md").read_text()
    assert page == config_page(source), "run tools/write_config_page.py"
    cfg = get_cfg()
    before = flat(cfg)
    add_effps_solo_config(cfg)
    keys = [key for key, value in flat(cfg).items() if before.get(key, ...) != value]
    assert len(keys) > 90
    assert not [key for key in keys if page.count(f"`{key}`: `") != 1]
