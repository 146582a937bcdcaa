"""Set-up and packaging: the interpreter search, the pins, what the tree may not contain, strict skips."""

import ast
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Dict, Iterator, List, Set, Tuple

import pytest
import yaml

from effps_solo.cli import env
from effps_solo.utils.version import __version__

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN_IMPORTS = ("detectron2.model_zoo", "pkg_resources", "inplace_abn")
PIN = re.compile(r"([A-Za-z0-9_.-]+)==([^;\s]+)")


@pytest.fixture(scope="module")
def setup_env() -> ModuleType:
    """tools/setup_env.py as a module."""
    path = ROOT / "tools" / "setup_env.py"
    spec = importlib.util.spec_from_file_location("setup_env", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A PATH with the few programs of find_python.sh and no Python."""
    for tool in ("sh", "head"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def add_program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def fake_python(version: str, modules: bool = True) -> str:
    """A program that runs find_python.sh's probe with another version, with or without venv."""
    hide = "" if modules else "sys.modules['ensurepip'] = None;"
    prepare = f"import sys; sys.version_info = ({version.replace('.', ', ')}, 0); {hide}"
    return f'exec "{sys.executable}" -c "{prepare}\n$2"'


def find_python(folder: Path, python: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": str(folder), "PYTHON": python}
    command = [str(folder / "sh"), str(ROOT / "tools" / "find_python.sh")]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_python3_is_taken_first(stage: Path) -> None:
    add_program(stage, "python3", fake_python("3.11"))
    add_program(stage, "python3.13", "echo wrong")
    result = find_python(stage)
    assert (result.returncode, result.stdout.strip()) == (0, sys.executable), result.stderr


def test_shims_and_wrong_versions_are_passed_over(stage: Path) -> None:
    add_program(stage, "python3", fake_python("3.9"))
    add_program(stage, "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    add_program(stage, "python3.12", fake_python("3.12", modules=False))
    add_program(stage, "python3.10", fake_python("3.10"))
    result = find_python(stage)
    assert (result.returncode, result.stdout.strip()) == (0, sys.executable), result.stderr


def test_no_suitable_python_says_why(stage: Path) -> None:
    add_program(stage, "python3", fake_python("3.14"))
    add_program(stage, "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    add_program(stage, "python3.12", fake_python("3.12", modules=False))
    result = find_python(stage)
    assert result.returncode == 1 and result.stdout == ""
    for line in (
        "python3: is Python 3.14",
        "python3.13: pyenv: python3.13: command not found",
        "python3.12: lacks the module ensurepip",
        "python3.11: not found",
        "PYTHON=/path/to/python3",
    ):
        assert line in result.stderr


def test_python_overrides(stage: Path) -> None:
    add_program(stage, "python3", fake_python("3.11"))
    add_program(stage, "mine", fake_python("3.9"))
    result = find_python(stage, python="mine")
    assert result.returncode == 1 and "mine: is Python 3.9" in result.stderr
    assert "python3:" not in result.stderr


def test_stamp_follows_the_requirement_files(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("setup.py", "requirements.txt", "requirements-dev.txt", "tools/setup_env.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(setup_env, "ROOT", tmp_path)
    monkeypatch.delenv("PYTHON", raising=False)
    environment = setup_env.Environment(tmp_path / ".venv")
    assert not setup_env.is_complete(environment, dev=False)
    environment.python.parent.mkdir(parents=True)
    environment.python.write_text("")
    stamp = tmp_path / ".venv" / setup_env.STAMP
    stamp.write_text('{"run": "%s"}' % setup_env.fingerprint(False))
    assert setup_env.is_complete(environment, dev=False)
    assert not setup_env.is_complete(environment, dev=True)
    with open(tmp_path / "requirements.txt", "a") as file:
        file.write("more==1\n")
    assert not setup_env.is_complete(environment, dev=False)
    stamp.write_text('{"run"')
    assert not setup_env.is_complete(environment, dev=False)


def test_half_installed_packages_are_forgotten(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, files in {"whole": ("INSTALLER", "RECORD"), "half": ("RECORD",)}.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        for file in files:
            (folder / file).write_text("")
    environment = setup_env.Environment(tmp_path)
    monkeypatch.setattr(environment, "site_packages", lambda: tmp_path)
    environment.remove_half_installed()
    assert [path.name for path in tmp_path.iterdir()] == ["whole-1.0.dist-info"]


def test_an_importable_detectron2_is_kept(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: List[Tuple[str, ...]] = []
    environment = setup_env.Environment(tmp_path)
    environment.python = Path(sys.executable)
    monkeypatch.setattr(environment, "pip_install", lambda *words: calls.append(words))
    environment.install_detectron2()
    assert calls == []
    monkeypatch.setattr(setup_env, "succeeds", lambda command: False)
    monkeypatch.setenv("DETECTRON2", "source")
    environment.install_detectron2()
    assert "--no-build-isolation" in calls[-1] and calls[-1][-1].startswith("git+")


def test_detectron2_files_replace_an_old_half(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "detectron2" / "stale").mkdir(parents=True)
    environment = setup_env.Environment(tmp_path)

    def install(*words: str) -> None:
        assert ("--no-deps", "--python-version", "3.10") == (words[0], words[3], words[4])
        target = Path(words[words.index("--target") + 1])
        for name in ("detectron2", "sal_detectron2-0.7.2.dist-info"):
            (target / name).mkdir(parents=True)
            (target / name / "new").write_text("")

    monkeypatch.setattr(environment, "site_packages", lambda: site)
    monkeypatch.setattr(environment, "pip_install", install)
    environment._install_detectron2_files()
    found = sorted(str(path.relative_to(site)) for path in site.rglob("*") if path.is_file())
    assert found == ["detectron2/new", "sal_detectron2-0.7.2.dist-info/new"]


def test_torch_and_torchvision_are_a_pinned_pair(setup_env: ModuleType) -> None:
    pair = setup_env.torch_pair(ROOT / "requirements.txt")
    assert [PIN.match(line)[1] for line in pair] == ["torch", "torchvision"]  # type: ignore[index]
    assert " ".join(pair) == env.TORCH_PAIR
    assert env.PANOPTICAPI in setup_env.WITHOUT_DEPENDENCIES
    assert setup_env.DETECTRON2_FILES in env.DETECTRON2_FILES


def requirement_lines() -> Iterator[str]:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith("#"):
                yield line


def test_every_requirement_is_pinned_and_leaves_detectron2_out() -> None:
    names: Dict[str, int] = {}
    for line in requirement_lines():
        match = PIN.match(line)
        assert match, f"not pinned: {line}"
        names[match[1].lower()] = names.get(match[1].lower(), 0) + 1
        assert names[match[1].lower()] == 1 or "python_version" in line, f"twice: {line}"
    assert "detectron2" not in names and "opencv-python-headless" in names


def test_setup_py_agrees() -> None:
    result = subprocess.run(
        [sys.executable, "setup.py", "--version", "--license"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.stdout.split()[-2:] == [__version__, "Apache-2.0"], result.stderr
    text = (ROOT / "setup.py").read_text()
    required = text[text.index("install_requires") : text.index("extras_require")]
    assert "detectron2" not in required and '"torch' in required


def files_below(folder: Path) -> Set[Path]:
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_every_file_of_the_package_is_installed(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    files = files_below(ROOT / "effps_solo")
    assert files == files_below(tmp_path / "effps_solo")
    for name in ("data/datasets/class_lists/idd.yaml", "report/templates/base.html", "py.typed"):
        assert Path(name) in files
    for name in ("street_scenes", "nuclei", "facades"):
        assert Path(f"weights/{name}/model.safetensors") in files


def test_hooks_and_ci_run_what_is_here() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]  # nothing is fetched
    entries = [hook["entry"] for hook in hooks[0]["hooks"]]
    assert all(entry.startswith(".venv/bin/") for entry in entries)
    makefile = (ROOT / "Makefile").read_text()
    lint = makefile[makefile.index("\nlint:") : makefile.index("\ndocs:")]
    for entry in entries:  # `make lint` runs some of them as modules
        words = entry.replace(".venv/bin/", "")
        assert entry in lint or f"$(PY) -m {words}" in lint
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    search = (ROOT / "tools" / "find_python.sh").read_text()
    assert [f"python{v}" for v in reversed(job["strategy"]["matrix"]["python"])] == re.findall(
        r"python3\.\d+\b", search[search.index("for candidate") :].splitlines()[0]
    )


def python_files() -> List[Path]:
    folders = ("effps_solo", "tools", "datasets", "tests")
    return [*ROOT.glob("*.py"), *(p for name in folders for p in (ROOT / name).rglob("*.py"))]


def imported_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imported_names_sees_every_form() -> None:
    code = "import a.b\nfrom detectron2 import model_zoo\ndef f():\n    from x.y import z"
    assert set(imported_names(ast.parse(code))) == {
        "a.b",
        "detectron2",
        "detectron2.model_zoo",
        "x.y",
        "x.y.z",
    }


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_forbidden_import(path: Path) -> None:
    for name in imported_names(ast.parse(path.read_text(encoding="utf-8"))):
        wrong = [f for f in FORBIDDEN_IMPORTS if name == f or name.startswith(f"{f}.")]
        assert not wrong, f"{path} imports {name}"


def test_licence_is_complete() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
    assert "The effps_solo authors" in text


def test_strict_skips_fail_for_missing_packages_only(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "conftest.py")
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_abc')")
    (tmp_path / "test_two.py").write_text(
        "import pytest\n"
        "def test_package():\n    pytest.importorskip('no_such_abc')\n"
        "def test_data(data_root):\n    assert False\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    command += [str(tmp_path), f"--rootdir={tmp_path}"]
    environment = {k: v for k, v in os.environ.items() if k != "DETECTRON2_DATASETS"}
    environment = {k: v for k, v in environment.items() if not k.startswith("PYTEST_")}
    plain = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert plain.returncode == 0 and "3 skipped" in plain.stdout, plain.stdout
    command.append("--strict-skips")
    strict = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert strict.returncode != 0 and "no_such_abc" in strict.stdout, strict.stdout
    assert "1 error" in strict.stdout

    (tmp_path / "test_module.py").unlink()
    strict = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "1 failed, 1 skipped" in strict.stdout, strict.stdout
