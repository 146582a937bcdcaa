"""The command ``compare``: the queue, and a real comparison that is stopped and goes on."""

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from effps_solo.__main__ import main
from effps_solo.cli import compare
from effps_solo.comparison import runner
from effps_solo.comparison.plan import Run
from effps_solo.comparison.runner import RunFailed

RESULT = {
    "PQ": 50.0,
    "PQ_th": 40.0,
    "PQ_st": 60.0,
    "AP": None,
    "parameters": 3_100_000,
    "macs": 1.8e9,
    "training_seconds": 1800.0,
    "inference_seconds": 0.25,
    "peak_memory_bytes": 600 * 2**20,
    "num_images": 20,
    "device": "Some CPU",
    "threads": 2,
}
NAMES = ["set/a/seed1", "set/b/seed1", "set/a/seed2", "set/b/seed2"]
Command = Callable[..., int]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for stem in ("a", "b"):
        (tmp_path / f"{stem}.yaml").write_text(
            "{MODEL: {DEVICE: cpu}, DATASETS: {TEST: [some_val]}}"
        )
    path = tmp_path / "table.yaml"
    path.write_text("{methods: {A: a, B: b}, data sets: {set: {configs: ., seeds: [1, 2]}}}")
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.fixture
def command(table: Path, output: Path) -> Command:
    """The command with further words; returns the exit status."""
    return lambda *words: main(["compare", "--table", str(table), "--output", str(output), *words])


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts results in place of training; what is asked for lands in the list that it returns."""

    def replace(**outcomes: Exception) -> List[str]:
        asked = []

        def complete(run: Run, output: Path, num_threads: Any) -> Dict[str, Any]:
            asked.append(run.name)
            for name, error in outcomes.items():
                if run.name == name.replace("__", "/"):
                    raise error
            path = output / run.name / "result.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({**RESULT, "PQ": 50.0 + run.seed}))
            return RESULT

        monkeypatch.setattr(runner, "complete_run", complete)
        return asked

    return replace


def test_queue_and_report(
    command: Command, trained: Any, output: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = trained()
    assert command() == 0 and asked == NAMES
    printed = capsys.readouterr().out
    assert f"[2/4] {NAMES[1]}: training, log in {output / NAMES[1] / 'compare.log'}" in printed
    assert f"[2/4] {NAMES[1]}: PQ 50.0, PQ_th 40.0, PQ_st 60.0, Boundary PQ -, AP -" in printed
    assert "| A | 1, 2 | 51.5 |" in printed and "## Missing" not in printed
    for name in ("comparison.md", "comparison.json", "comparison.png"):
        assert (output / name).is_file() and str(output / name) in printed


def test_others_go_on_behind_a_failure(
    command: Command, trained: Any, capsys: pytest.CaptureFixture
) -> None:
    asked = trained(set__b__seed1=RunFailed("no such image"))
    assert command() == 1 and asked == NAMES
    printed = capsys.readouterr()
    assert "[2/4] set/b/seed1: failed: no such image" in printed.err
    assert printed.out.partition("## Missing")[2].split()[:2] == ["-", "set/b/seed1"]


def test_an_interrupt_ends_the_queue(
    command: Command, trained: Any, output: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = trained(set__b__seed1=KeyboardInterrupt())  # type: ignore[arg-type]
    before = signal.getsignal(signal.SIGTERM)
    assert command() == 130 and asked == NAMES[:2]
    assert "stopped; run it again" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    assert command("--list") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["done", NAMES[0]],
        *(["to", "do", name] for name in NAMES[1:]),
    ]


def test_kill_is_an_interrupt_and_nohup_stays() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), compare._stop_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
            pytest.fail("SIGTERM was ignored")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_choice_of_runs(command: Command, trained: Any, capsys: pytest.CaptureFixture) -> None:
    asked = trained()
    assert command("--only", "*/seed1") == 0 and asked == NAMES[:2]
    assert capsys.readouterr().out.partition("## Missing")[2].count("\n- ") == 2
    assert command("--only", "other/*") == 2
    assert "'other/*' fits no run" in capsys.readouterr().err


def test_report_alone(command: Command, trained: Any, output: Path, capsys: Any) -> None:
    asked = trained()
    assert command("--report") == 0 and not asked
    assert "No results yet." in capsys.readouterr().out
    assert command("--only", NAMES[0]) == 0
    (output / NAMES[1]).mkdir(parents=True)
    (output / NAMES[1] / "result.json").write_text("{")
    assert command("--report") == 0 and asked == NAMES[:1]
    printed = capsys.readouterr()
    assert "result.json is damaged" in printed.err and "| A | 1 | 51.0 |" in printed.out


def test_mistakes_show_before_anything_is_trained(
    command: Command, trained: Any, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = trained()
    (tmp_path / "b.yaml").write_text("SOLVER: {MAX_ITERS: 3}")
    assert command() == 2 and not asked
    assert "unknown key 'SOLVER.MAX_ITERS'" in capsys.readouterr().err
    table.unlink()
    assert command() == 2
    assert "does not exist; name one with --table" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command("--threads", "0")


def test_an_output_that_is_a_file(command: Command, output: Path, capsys: Any) -> None:
    output.write_text("")
    assert command("--report") == 2
    assert f"--output '{output}' is not a folder to write to" in capsys.readouterr().err


@pytest.fixture
def heed_ctrl_c() -> Iterator[None]:
    """Programs that a shell starts in the background ignore it, the tests among them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_a_comparison_is_stopped_and_goes_on(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture, heed_ctrl_c: None
) -> None:
    """One real run: Ctrl-C in the middle of training, then the rest of it, then the report."""
    table, output = tmp_path / "table.yaml", tmp_path / "comparison"
    opts = "{SOLVER.MAX_ITER: 40, SOLVER.CHECKPOINT_PERIOD: 5}"
    table.write_text(
        "methods: {SOLOv2: tiny}\n"
        f"data sets: {{tiny: {{configs: ., seeds: [3], opts: {opts}}}}}\n"
    )
    words = ["compare", "--threads", "1", "--table", str(table), "--output", str(output)]
    folder = output / "tiny" / "solov2" / "seed3"

    def interrupt() -> None:
        while not (folder / "last_checkpoint").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    assert main(words) == 130
    assert not (folder / "result.json").exists() and not (folder / "model_final.pth").exists()
    first = (folder / "compare.log").read_text()
    assert main(words) == 0
    rest = (folder / "compare.log").read_text()[len(first) :]
    assert "expected time" in first and "goes on after iteration" not in first
    assert re.search(r"goes on after iteration [1-9]\d* of 40", rest)
    result = json.loads((folder / "result.json").read_text())
    assert result["seed"] == 3 and 0 <= result["PQ"] <= 100 and result["threads"] == 1
    assert result["training_seconds"] > 0 and result["macs"] > 1e6
    assert "SEED: 3" in (folder / "config.yaml").read_text()
    report = (output / "comparison.md").read_text()
    assert f"| SOLOv2 | 3 | {result['PQ']:.1f} |" in report and "Missing" not in report
    assert (output / "comparison.png").stat().st_size > 5000
    assert main([*words, "--list"]) == 0
    assert "done     tiny/solov2/seed3" in capsys.readouterr().out
