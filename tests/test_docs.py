"""The README and the pages: links lead somewhere, commands can be typed, the site builds."""

import argparse
import ast
import importlib
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from effps_solo.__main__ import COMMANDS
from effps_solo.comparison.metrics import means_by_metric

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
]
_CODE_LINE = re.compile(r"^    (\S.*)$", re.MULTILINE)


def commands() -> Iterator[Tuple[str, List[str]]]:
    """(page, words) of every ``python -m effps_solo ...`` in a code block."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in _CODE_LINE.findall(text):
            found = re.search(r"python -m effps_solo (.*)", line)
            if found:
                yield page.name, shlex.split(found.group(1), comments=True)


@pytest.mark.parametrize("page, words", list(commands()))
def test_commands_can_be_typed(page: str, words: List[str]) -> None:
    name, *rest = words
    assert name in COMMANDS
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f"effps_solo.cli.{name.replace('-', '_')}").add_arguments(parser)
    args = parser.parse_args(rest)
    config = getattr(args, "config_file", None) or ""
    assert not config.startswith("configs/") or (ROOT / config).is_file()


def test_the_pages_show_commands() -> None:
    assert {words[0] for _, words in commands()} >= set(COMMANDS) - {"replay"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    missing = [x for x in links if "://" not in x and not (page.parent / x).exists()]
    assert not missing
    configs = re.findall(r"`(configs/[\w/.-]+\.yaml)`", text)
    assert all((ROOT / config).is_file() for config in configs)


def files_named_in(text: str) -> Iterator[str]:
    """Files and folders of the checkout, as pages write them: whole, or below the package or a room."""
    own = {path.name for folder in (ROOT, ROOT / "effps_solo") for path in folder.iterdir()}
    for name in re.findall(r"`([\w./-]+)`", text):
        first = name.split("/")[0]
        is_placeholder = "NAME" in name or first in ("output", "my_head.py")
        if not is_placeholder and (re.search(r"\w\.py$", name) or ("/" in name and first in own)):
            yield name.rstrip("/")


def modules_named_in(text: str) -> Iterator[str]:
    """Dotted names of the package; of a table of old and new names the new ones."""
    for line in text.splitlines():
        yield from re.findall(r"effps_solo(?:\.\w+)+", line.split(" | ")[-1])


@pytest.mark.parametrize("page", [*PAGES, ROOT / "datasets" / "README.md"], ids=lambda p: p.name)
def test_files_and_modules_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    folders = [ROOT / name for name in (".ci", "configs", "docs", "effps_solo", "tests", "tools")]
    paths = [*ROOT.iterdir(), *ROOT.glob("datasets/*"), *(x for f in folders for x in f.rglob("*"))]
    files = {f"/{path.relative_to(ROOT)}" for path in paths}
    gone = {n for n in files_named_in(text) if not any(f.endswith(f"/{n}") for f in files)}
    assert not gone
    for name in modules_named_in(text):
        if "NAME" not in name:
            assert pkgutil.resolve_name(name)


def test_what_is_named_is_found_in_text() -> None:
    text = "`a/b.py`, `docs/data.md`, `modeling/fusion/`, `output/x`, `NAME.py`, `c.py`, a/d.py"
    assert list(files_named_in(text)) == ["a/b.py", "docs/data.md", "modeling/fusion", "c.py"]
    assert list(modules_named_in("| `effps_solo.a` | `effps_solo.b.c` |")) == ["effps_solo.b.c"]
    assert list(modules_named_in("from effps_solo.a import x")) == ["effps_solo.a"]


def test_the_figures_are_the_same_everywhere() -> None:
    table = [
        line for line in PAGES[0].read_text().splitlines() if re.match(r"\| `\w+/effps_", line)
    ]
    assert len(table) >= 4
    assert set(table) <= set((ROOT / "docs" / "models.md").read_text().splitlines())


def test_the_comparison_tells_what_was_measured() -> None:
    """Every row holds the means over the seeds of one method, of the results beside the pages."""
    names = {"quickstart": "generated scenes"}
    summary = json.loads((ROOT / "docs" / "comparison" / "comparison.json").read_text())
    expected = set()
    for data_set, measured in summary["data_sets"].items():
        for method, found in measured["methods"].items():
            mean = means_by_metric(list(found["seeds"].values()))
            told = {key: value for key, value in found["mean"].items() if value is not None}
            assert told == pytest.approx({key: mean[key] for key in told})
            figures = [f"{mean[key]:.1f}" for key in ("PQ", "PQ_th", "PQ_st", "AP")]
            figures += [f"{mean['parameters'] / 1e6:.1f} M", f"{mean['macs'] / 1e9:.1f}"]
            minutes, seconds = found["mean"]["training_seconds"], found["mean"]["inference_seconds"]
            figures += ["-" if minutes is None else f"{minutes / 60:.0f} min"]
            figures += ["-" if seconds is None else f"{1e3 * seconds:.0f} ms"]
            expected.add(" | ".join([names.get(data_set, data_set), method, *figures]))
    assert len(expected) == 9
    _check_summary(summary)
    for page in (ROOT / "README.md", ROOT / "docs" / "models.md"):
        lines = page.read_text(encoding="utf-8").replace("**", "").splitlines()
        assert expected <= {line.strip("| ") for line in lines}


def _check_summary(summary: Dict[str, Any]) -> None:
    """It is that of the results beside it."""
    paths = list((ROOT / "docs" / "comparison").glob("*/*/seed*/result.json"))
    results = [json.loads(path.read_text()) for path in paths]
    seeds = [
        result
        for data_set in summary["data_sets"].values()
        for method in data_set["methods"].values()
        for result in method["seeds"].values()
    ]
    assert len(results) == len(seeds) and all(result in seeds for result in results)


def test_no_command_stands_outside_a_code_block() -> None:
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line.startswith((".venv/", "make ", "docker "))]


def _undocumented(path: Path) -> Iterator[str]:
    """Public functions, classes and methods without a docstring; what overrides a method inherits its."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, kinds) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield node.name
        if isinstance(node, ast.ClassDef) and not node.bases:
            for method in node.body:
                if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
                    continue
                is_setter = any(isinstance(d, ast.Attribute) for d in method.decorator_list)
                if not is_setter and not ast.get_docstring(method):
                    yield f"{node.name}.{method.name}"


def test_what_is_public_has_a_docstring() -> None:
    paths = sorted((ROOT / "effps_solo").rglob("*.py"))
    assert len(paths) > 100
    assert not {f"{path.relative_to(ROOT)}: {x}" for path in paths for x in _undocumented(path)}


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    run = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "PanopticResult" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    fetched = re.findall(r'(?:src|href)="(https?://[^"]+)"', (tmp_path / "index.html").read_text())
    assert not [url for url in fetched if "fonts.g" in url]


def test_the_head_of_the_page_is_known_to_every_program(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    block = re.search(r"^    def setup_environment.*?(?=^\S)", page, re.MULTILINE | re.DOTALL)
    assert block
    (tmp_path / "my_head.py").write_text(textwrap.dedent(block[0]))
    code = (
        "import effps_solo.engine\n"
        "from effps_solo.modeling.instance_head.build import INSTANCE_HEAD_REGISTRY\n"
        "INSTANCE_HEAD_REGISTRY.get('MyHead')\n"
    )
    environment = {**os.environ, "DETECTRON2_ENV_MODULE": str(tmp_path / "my_head.py")}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
