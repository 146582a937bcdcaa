"""What SIGTERM and Ctrl-C mean to the processes of a training."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any, Iterator

import pytest
import torch
from torch.multiprocessing import ProcessExitedException

from effps_solo.engine.signals import StopSignals, TrainingStopped, forwarded_signals

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of pytest are there again in the end, and none is lost on the way."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_signal_leaves_a_note(capfd: pytest.CaptureFixture[str]) -> None:
    with StopSignals() as signals:
        assert signals.agreed(CPU) == 0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert signals.agreed(CPU) == signals.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # the next one ends the program
    said = capfd.readouterr().err
    assert said.count("SIGTERM: the running step is finished and a checkpoint written") == 1


def test_another_thread_than_the_main_one_takes_no_signals() -> None:
    seen = []

    def run() -> None:
        with StopSignals() as signals:
            seen.append(signals.received)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [0]


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_status_is_that_of_the_shell(number: int, status: int) -> None:
    assert TrainingStopped(number).code == status


def _wait_for_sigterm(ready: Any) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ready.set()
    time.sleep(300)


def test_a_signal_goes_on_to_the_processes() -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=_wait_for_sigterm, args=(ready,))
    child.start()
    assert ready.wait(60)
    with pytest.raises(SystemExit) as end:
        with forwarded_signals():
            os.kill(os.getpid(), signal.SIGINT)
            child.join(60)
            raise ProcessExitedException("", 0, child.pid or 0, exit_code=child.exitcode or 0)
    assert end.value.code == 130 and child.exitcode == 143


@pytest.mark.parametrize("code, status", [(143, 143), (130, 130), (1, None), (-9, None)])
def test_what_processes_end_with(code: int, status: Any) -> None:
    """The status of a stopped one is passed on; every other error stays what it is."""
    with pytest.raises((SystemExit, ProcessExitedException)) as end:
        with forwarded_signals():
            raise ProcessExitedException("", 0, 9, exit_code=code)
    assert getattr(end.value, "code", None) == status
