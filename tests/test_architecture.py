"""The structure of the package: rooms, who imports whom, sizes. Reads the sources, imports none."""

import ast
import shutil
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Iterator, Set, Tuple

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "effps_solo"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES, MAX_FUNCTION_LINES = 300, 80
META_ARCHS = ("modeling/meta_arch.py", "modeling/panoptic_fpn.py")


def lint_imports(folder: Path) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name("lint-imports")
    command = [str(program), "--no-cache", "--config", "pyproject.toml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_root_of_the_package_holds_its_face_and_rooms_alone() -> None:
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "py.typed"}


def test_every_contract_holds() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "file, planted, broken",
    [
        ("data/mapper.py", "from effps_solo.engine import Trainer", "only from below"),
        ("data/mapper.py", "from effps_solo.modeling import layers", "only from below"),
        ("report/run.py", "def f():\n    import effps_solo.benchmark.measure", "only from below"),
        ("modeling/backbone/two_way_fpn.py", "from ..fusion import base", "Within modeling"),
        ("utils/atomic.py", "def f():\n    import torch", "Without torch"),
        ("modeling/sem_seg_head/loss.py", "import yacs", "Pure functions"),
    ],
)
def test_a_planted_import_breaks_its_contract(
    file: str, planted: str, broken: str, tmp_path: Path
) -> None:
    shutil.copytree(PACKAGE, tmp_path / "effps_solo", ignore=shutil.ignore_patterns("weights"))
    (tmp_path / "effps_solo" / "weights").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "effps_solo" / file).open("a") as module:
        module.write(f"\n{planted}\n")
    result = lint_imports(tmp_path)
    found = [line for line in result.stdout.splitlines() if "BROKEN" in line or broken in line]
    assert result.returncode == 1 and any(broken in line for line in found), result.stdout


def test_no_two_files_import_each_other_by_whatever_way_round() -> None:
    graph = grimp.build_graph("effps_solo", exclude_type_checking_imports=False, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_file_and_no_function_is_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in FILES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= MAX_FUNCTION_LINES, f"{path}: {node.name} has {lines} lines"


def _lines_of_metadata(tree: ast.AST) -> Set[int]:
    nodes = (n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "MetadataCatalog")
    return {node.lineno for node in nodes}


def _from_configs(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "from_config":
            yield node


def _modeling() -> Tuple[Path, ...]:
    return tuple(path for path in FILES if path.is_relative_to(PACKAGE / "modeling"))


@pytest.mark.parametrize("path", _modeling(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_metadata_are_read_in_from_config_of_the_architectures_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: Set[int] = set()
    if path.relative_to(PACKAGE).as_posix() in META_ARCHS:
        inside = set().union(*(_lines_of_metadata(f) for f in _from_configs(tree)))
        assert inside
    assert _lines_of_metadata(tree) == inside
