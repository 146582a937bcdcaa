"""Who may import whom: walks the syntax trees of the package, without importing it."""

import ast
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Set, Tuple

import pytest

PACKAGE = "effps_solo"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE
MODULES = sorted(ROOT.rglob("*.py"))
PARTS = ("backbone", "sem_seg_head", "instance_head")
META_ARCHS = ("meta_arch.py", "panoptic_fpn.py")
MODEL_CODE = PARTS + (
    "fusion",
    "meta_arch",
    "panoptic_fpn",
    "layers",
    "cpu_gradients",
    "postprocessing",
)
PURE = {
    "sem_seg_head/loss.py": "sem_seg_head",
    "instance_head/solov2/targets.py": "instance_head",
    "instance_head/solov2/losses.py": "instance_head",
    "instance_head/solov2/inference.py": "instance_head",
    "instance_head/solov2/position_prior.py": "instance_head",
}


class Import(NamedTuple):
    """One imported name: its dotted path, the line, and the functions around it."""

    target: str
    line: int
    scope: Tuple[str, ...]


class _Collector(ast.NodeVisitor):
    def __init__(self, package: List[str]) -> None:
        self.package = package
        self.scope: List[str] = []
        self.found: List[Import] = []

    def _visit_scope(self, node: ast.AST) -> None:
        self.scope.append(getattr(node, "name"))
        self.generic_visit(node)
        self.scope.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _visit_scope

    def _add(self, target: str, node: ast.stmt) -> None:
        self.found.append(Import(target, node.lineno, tuple(self.scope)))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module.split(".") if node.module else []
        if node.level:
            parents = self.package[: len(self.package) - node.level + 1]
            base = parents + base
        for alias in node.names:
            self._add(".".join([*base, alias.name]), node)


def _imports_of_source(source: str, package: List[str]) -> List[Import]:
    collector = _Collector(package)
    collector.visit(ast.parse(source))
    return collector.found


def _imports(path: Path) -> List[Import]:
    package = [PACKAGE, *path.relative_to(ROOT).parent.parts]
    return _imports_of_source(path.read_text(encoding="utf-8"), package)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _below(*folders: str) -> List[Path]:
    chosen = [p for p in MODULES if _name(p).split("/")[0] in folders]
    assert chosen, f"{folders} hold no module"
    return chosen


def _own_part(target: str) -> str:
    """First component of an import from this package (backbone, layers, ...), else ''."""
    pieces = target.split(".")
    return pieces[1] if pieces[0] == PACKAGE and len(pieces) > 1 else ""


def _foreign(path: Path) -> Iterator[Import]:
    """Imports from outside the package and outside the standard library."""
    for item in _imports(path):
        if item.target.split(".")[0] not in {PACKAGE, "__future__", *sys.stdlib_module_names}:
            yield item


def _is_below(target: str, allowed: Tuple[str, ...]) -> bool:
    return any(target == name or target.startswith(f"{name}.") for name in allowed)


def _check_foreign(path: Path, allowed: Tuple[str, ...]) -> None:
    wrong = [
        f"{i.target} (line {i.line})" for i in _foreign(path) if not _is_below(i.target, allowed)
    ]
    assert not wrong, f"{_name(path)} imports {wrong}; allowed: {allowed}"


def _check_own(path: Path, allowed: Set[str]) -> None:
    wrong = [
        f"{i.target} (line {i.line})"
        for i in _imports(path)
        if _own_part(i.target) and _own_part(i.target) not in allowed
    ]
    assert not wrong, f"{_name(path)} imports {wrong}; allowed: {sorted(allowed)}"


def _detectron2(*parts: str) -> Tuple[str, ...]:
    return tuple(f"detectron2.{part}" for part in parts)


def test_the_walk_sees_every_form_of_import() -> None:
    source = (
        "import os, torch.nn as nn\n"
        "from . import head\n"
        "from ..layers import make_norm\n"
        "from ...fusion.base import PanopticFusion\n"
        "def f():\n    from detectron2.data import MetadataCatalog\n"
    )
    found = _imports_of_source(source, [PACKAGE, "instance_head", "solov2"])
    assert [i.target for i in found] == [
        "os",
        "torch.nn",
        "effps_solo.instance_head.solov2.head",
        "effps_solo.instance_head.layers.make_norm",
        "effps_solo.fusion.base.PanopticFusion",
        "detectron2.data.MetadataCatalog",
    ]
    assert [i.scope for i in found][-1] == ("f",)
    assert [_own_part(i.target) for i in found] == ["", "", *["instance_head"] * 2, "fusion", ""]


@pytest.mark.parametrize("name", ["label_space.py", "errors.py"])
def test_standard_library_only(name: str) -> None:
    path = ROOT / name
    assert not list(_foreign(path))
    _check_own(path, set())


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_functions_know_no_config_and_no_registry(name: str) -> None:
    path = ROOT / name
    _check_foreign(path, ("torch", "fvcore.nn", "detectron2.structures"))
    siblings = {n.rsplit("/", 1)[1][:-3] for n in PURE}
    for item in _imports(path):
        if _own_part(item.target):
            assert _own_part(item.target) == PURE[name], item
            assert set(item.target.split(".")) & siblings, item
    source = path.read_text(encoding="utf-8")
    for word in ("cfg", "CfgNode", "configurable", "Registry", "MetadataCatalog", "EventStorage"):
        names = {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
        arguments = {n.arg for n in ast.walk(ast.parse(source)) if isinstance(n, ast.arg)}
        assert word not in names | arguments, f"{name} uses {word}"


def test_fuse_logits_uses_its_arguments_only() -> None:
    tree = ast.parse((ROOT / "fusion" / "adaptive.py").read_text(encoding="utf-8"))
    function = next(
        n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "fuse_logits"
    )
    arguments = {a.arg for a in function.args.args}
    used = {n.id for s in function.body for n in ast.walk(s) if isinstance(n, ast.Name)}
    assert used <= arguments | {"torch"}


@pytest.mark.parametrize("path", _below(*PARTS), ids=_name)
def test_backbone_and_heads(path: Path) -> None:
    allowed = ("torch", "fvcore.nn") + _detectron2(
        "config", "layers", "modeling", "structures", "utils"
    )
    if _name(path) == "backbone/efficientnet.py":
        allowed += ("timm",)
    _check_foreign(path, allowed)
    _check_own(path, {_name(path).split("/")[0], "layers", "cpu_gradients", "errors"})


@pytest.mark.parametrize("path", _below("fusion"), ids=_name)
def test_fusion(path: Path) -> None:
    _check_foreign(path, ("torch",) + _detectron2("config", "structures", "utils"))
    _check_own(path, {"fusion", "label_space", "postprocessing", "errors"})


def test_layers_and_postprocessing_stand_below_the_parts() -> None:
    _check_foreign(ROOT / "layers.py", ("torch", "detectron2.layers"))
    _check_own(ROOT / "layers.py", {"cpu_gradients", "errors"})
    _check_foreign(ROOT / "cpu_gradients.py", ("torch",))
    _check_own(ROOT / "cpu_gradients.py", set())
    _check_foreign(ROOT / "postprocessing.py", ("torch", "detectron2.structures"))
    _check_own(ROOT / "postprocessing.py", {"label_space"})


def test_meta_arch_builds_by_name() -> None:
    path = ROOT / "meta_arch.py"
    allowed_names: Dict[str, Set[str]] = {
        "fusion": {"PanopticFusion", "build_panoptic_fusion"},
        "instance_head": {"InstanceHead", "StepTotals", "build_instance_head"},
        "label_space": {"PanopticLabelSpace"},
        "errors": {"ConfigError"},
    }
    for item in _imports(path):
        part = _own_part(item.target)
        if part and part != "postprocessing":
            assert item.target.rsplit(".", 1)[1] in allowed_names.get(part, set()), item
    _check_foreign(path, ("torch", "detectron2"))


def test_metadata_is_read_in_from_config_only() -> None:
    """MetadataCatalog appears nowhere in modelling code but in from_config of the networks."""
    for path in [p for p in MODULES if _name(p).split("/")[0].removesuffix(".py") in MODEL_CODE]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        everywhere = {n.lineno for n in ast.walk(tree) if _names_metadata(n)}
        inside: Set[int] = set()
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name == "from_config":
                inside |= {n.lineno for n in ast.walk(function) if _names_metadata(n)}
        if _name(path) in META_ARCHS:
            assert inside, f"from_config of {_name(path)} reads no MetadataCatalog"
        else:
            inside = set()
        assert everywhere == inside, f"{_name(path)} reads MetadataCatalog"


def _names_metadata(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "MetadataCatalog"


@pytest.mark.parametrize("path", _below("data", "evaluation"), ids=_name)
def test_data_and_evaluation_know_no_modelling_code(path: Path) -> None:
    for item in _imports(path):
        assert _own_part(item.target) not in MODEL_CODE, item
        assert not _is_below(item.target, ("detectron2.modeling", "timm")), item


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_forbidden_everywhere(path: Path) -> None:
    for item in _imports(path):
        assert not _is_below(
            item.target, ("detectron2.model_zoo", "pkg_resources", "inplace_abn")
        ), item
