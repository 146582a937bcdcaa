"""Errors of the system that end a training (a dead worker, a full disk), as messages that say what to do."""

import contextlib
import errno
import re
from typing import Iterator

from effps_solo.utils.errors import UserError

# torch's: "DataLoader worker (pid 5) is killed by signal ...", "... (pid(s) 5) exited unexpectedly".
_DEAD_WORKER = re.compile(r"DataLoader worker \(pid")
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # the disk, the user's quota


class WorkerDiedError(UserError):
    """A process that loads data is gone."""


class DiskFullError(UserError):
    """Nothing more can be written."""


@contextlib.contextmanager
def explained(output_dir: str) -> Iterator[None]:
    """Turn the system's errors within the context into :class:`UserError` where a user can help."""
    try:
        yield
    except RuntimeError as error:
        if not _DEAD_WORKER.search(str(error)):
            raise
        raise WorkerDiedError(
            f"a process that loads data died, often for lack of memory ({' '.join(str(error).split())}); "
            "lower DATALOADER.NUM_WORKERS (0: no such processes) and go on with --resume"
        ) from error
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError(
            f"no space is left to write into {output_dir} ({error}); free some and go on with --resume"
        ) from error
