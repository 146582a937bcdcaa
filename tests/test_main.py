"""The command line: dispatch, help, wrong commands, errors of users."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import effps_solo.__main__ as command_line
from effps_solo.utils.errors import ConfigError
from effps_solo.utils.version import __version__


def command(run: Any) -> SimpleNamespace:
    return SimpleNamespace(
        add_arguments=lambda parser: parser.add_argument("--number", type=int, default=0), run=run
    )


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a function in place of the command ``env``."""

    def replace(run: Any) -> None:
        monkeypatch.setattr(command_line, "_load", lambda name: command(run))

    return replace


@pytest.mark.parametrize(
    "name, kept", [("predict", 1), ("app", 1), ("export", 1), ("show-dataset", 1), ("env", 0)]
)
def test_commands_that_run_networks_keep_freed_memory(
    use: Any, monkeypatch: pytest.MonkeyPatch, name: str, kept: int
) -> None:
    calls = []
    monkeypatch.setattr(command_line, "keep_freed_memory", lambda: calls.append(name))
    use(lambda args: len(calls))
    assert command_line.main([name]) == kept and len(calls) == kept


def test_the_command_gets_its_arguments_and_gives_the_status(use: Any) -> None:
    seen = []

    def run(args: Any) -> int:
        seen.append(args.number)
        return 3

    use(run)
    assert command_line.main(["env", "--number", "7"]) == 3 and seen == [7]


def test_unknown_command_lists_the_known_ones(capsys: pytest.CaptureFixture) -> None:
    assert command_line.main(["envv"]) == 2
    error = capsys.readouterr().err
    assert "unknown command 'envv'" in error
    assert all(f"  {name} " in error for name in command_line.COMMANDS)


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture) -> None:
    assert command_line.main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as exit_info:
        command_line.main(["--version"])
    assert exit_info.value.code == 0 and __version__ in capsys.readouterr().out


@pytest.mark.parametrize("error", [ConfigError("key X"), FileNotFoundError("key X")])
def test_a_users_mistake_is_one_line(
    use: Any, capsys: pytest.CaptureFixture, error: Exception
) -> None:
    def run(args: Any) -> int:
        raise error

    use(run)
    assert command_line.main(["env"]) == 2
    assert capsys.readouterr().err == "effps-solo env: key X\n"


def test_a_missing_package_points_to_env(use: Any, capsys: pytest.CaptureFixture) -> None:
    def run(args: Any) -> int:
        raise ModuleNotFoundError("No module named 'abc'", name="abc")

    use(run)
    assert command_line.main(["env"]) == 2
    assert "effps-solo env" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(use: Any) -> None:
    def run(args: Any) -> int:
        raise ValueError("a bug")

    use(run)
    with pytest.raises(ValueError, match="a bug"):
        command_line.main(["env"])


@pytest.mark.parametrize("name", list(command_line.COMMANDS))
def test_every_command_keeps_the_contract(name: str, capsys: pytest.CaptureFixture) -> None:
    module = command_line._load(name)
    assert callable(module.run)
    with pytest.raises(SystemExit) as exit_info:
        command_line.main([name, "--help"])
    assert exit_info.value.code == 0 and f"effps-solo {name}" in capsys.readouterr().out


def test_help_imports_nothing_heavy(project_root: Path) -> None:
    code = (
        "import sys, effps_solo.__main__ as m\n"
        "for name in m.COMMANDS:\n"
        "    m._load(name)\n"
        "m.main([])\n"
        "heavy = {'torch', 'detectron2', 'timm', 'cv2'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_runs_as_a_module(project_root: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "effps_solo", "nonsense"],
        cwd=project_root,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and "unknown command 'nonsense'" in result.stderr
