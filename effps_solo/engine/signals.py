"""SIGTERM and Ctrl-C, and what they mean to the processes of a training."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from typing import Any, Dict, Iterator, List

import torch
from detectron2.utils import comm
from torch import distributed
from torch.multiprocessing import ProcessExitedException

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_TEXT = "\n{}: the running step is finished and a checkpoint written. Ctrl-C {} ends at once.\n"


def status_of(number: int) -> int:
    """The shell's status of a program that a signal ended."""
    return 128 + number


def name_of(number: int) -> str:
    """What people call a signal."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


class TrainingStopped(SystemExit):
    """A signal stopped the training, behind whose last step there is a checkpoint."""

    def __init__(self, number: int) -> None:
        """``number`` of the signal; the program's status follows from it."""
        super().__init__(status_of(number))
        self.number = number


class StopSignals:
    """Within its context SIGTERM and Ctrl-C only leave a note; a second Ctrl-C ends the program at once.

    Does nothing outside the main thread, where Python takes no signals.

    Attributes:
        received: the number of the first signal in this process; 0: none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: Any) -> None:
        if number == signal.SIGINT:
            # The system's own, which does not wait until a long operation lets Python run.
            signal.signal(number, signal.SIG_DFL)
        if not self.received and comm.is_main_process():
            again = "once more" if number == signal.SIGINT else "twice"
            # Not by print or the log, within which the signal may have come.
            os.write(2, _TEXT.format(name_of(number), again).encode())
        self.received = self.received or number

    def agreed(self, device: torch.device) -> int:
        """The number of a signal that any process received, or 0; all processes have to call it."""
        if comm.get_world_size() == 1:
            return self.received
        number = torch.tensor(self.received, device=device)
        distributed.all_reduce(number, distributed.ReduceOp.MAX)
        return int(number)


@contextlib.contextmanager
def forwarded_signals() -> Iterator[None]:
    """Within the context SIGTERM and Ctrl-C go on to the processes that this one started and waits for.

    Raises SystemExit with the shell's status where they ended by that. A second Ctrl-C ends all at once.
    """
    received: List[int] = []

    def forward(number: int, _: Any) -> None:
        received.append(number)
        # It would say last that it ends the others, which are at their end.
        logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
        at_once = received.count(signal.SIGINT) > 1
        for child in multiprocessing.active_children():
            # At a terminal they have got Ctrl-C themselves; SIGTERM may come more than once.
            child.kill() if at_once else child.terminate()
        if at_once:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = {number: signal.signal(number, forward) for number in _SIGNALS}
    try:
        yield
    except ProcessExitedException as error:
        stopped = {status_of(number) for number in _SIGNALS}
        if error.exit_code in stopped or (received and -error.exit_code in _SIGNALS):
            status = status_of(received[0]) if received else error.exit_code
            raise SystemExit(status) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
