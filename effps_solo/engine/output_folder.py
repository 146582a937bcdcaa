"""OUTPUT_DIR of a training: one run at a time, and none over the results of another."""

import contextlib
import errno
import fcntl
import glob
import logging
import os
import socket
from typing import IO, List, Sequence

from effps_solo.utils.atomic import make_writable
from effps_solo.utils.errors import ConfigError, UserError

LOCK_NAME = "in_use.lock"
# What a training writes; an evaluation alone writes none of these. One that failed before its first line
# of metrics.json has nothing to lose.
_RESULTS = ("last_checkpoint", "model_*.pth", "metrics.json")
_FINISHED = "model_final.pth"
_TRACES = ("events.out.tfevents.*",)
_BUSY = (errno.EACCES, errno.EAGAIN)
_held: List[IO[str]] = []  # as long as this process lives
logger = logging.getLogger(__name__)


class OutputFolderError(UserError):
    """OUTPUT_DIR cannot be taken for this run."""


def claim_output_folder(
    folder: str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    evaluate: bool = False,
    weights: str = "",
) -> None:
    """Take ``folder`` for a run of this process, whose end, whatever it is, gives it free again.

    Nothing is written before all is checked. The lock is one of POSIX, which no worker inherits and no
    crash leaves behind, and which NFS knows.

    Args:
        folder: made if need be.
        resume: go on with the training that is there, or begin one.
        overwrite: remove the training that is there: checkpoints, metrics.json, events of TensorBoard.
        evaluate: do not train; what is there does not matter.
        weights: MODEL.WEIGHTS, which must outlive the removal.

    Raises:
        UserError: nothing can be written there.
        OutputFolderError: another process works there, or there are results and neither ``resume`` nor
            ``overwrite``.
        ConfigError: both of them, or ``weights`` would be removed.
    """
    if resume and overwrite:
        raise ConfigError(
            "--resume goes on with a training and --overwrite removes it; give one of them"
        )
    make_writable(folder, "OUTPUT_DIR")
    path = os.path.join(folder, LOCK_NAME)
    if os.path.exists(path):
        _lock(path)
    used = [file for file in _files(folder, _RESULTS) if os.path.getsize(file) > 0]
    if used and not (resume or overwrite or evaluate):
        goes_on = "add --resume to go on with it"
        if os.path.isfile(os.path.join(folder, _FINISHED)):
            model = os.path.join(folder, "model")
            goes_on = f"it is finished, its model is in {model}; --resume evaluates it again"
        raise OutputFolderError(
            f"OUTPUT_DIR '{folder}' holds a training already ({os.path.basename(used[0])}); {goes_on}, "
            "--overwrite removes it, and OUTPUT_DIR another/folder at the end leaves it as it is"
        )
    if overwrite and any(_same_file(weights, file) for file in used):
        raise ConfigError(
            f"MODEL.WEIGHTS '{weights}' is in OUTPUT_DIR, where --overwrite would remove it; choose another "
            "OUTPUT_DIR, or move the file"
        )
    _lock(path)
    if overwrite:
        for file in _files(folder, _RESULTS + _TRACES):
            os.remove(file)


def _files(folder: str, patterns: Sequence[str]) -> List[str]:
    names = [glob.glob(os.path.join(glob.escape(folder), pattern)) for pattern in patterns]
    return [name for found in names for name in sorted(found)]


def _lock(path: str) -> None:
    """Hold the lock until this process ends; holding it twice is holding it once."""
    if any(_same_file(file.name, path) for file in _held):
        return
    file = open(path, "a+")
    try:
        # Not flock: data loaders inherit that, and live on for seconds when this process is killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip() or "another process"
        file.close()
        if error.errno not in _BUSY:
            # A file system without locks; few have none.
            logger.warning("%s cannot be locked (%s): do not start two runs there", path, error)
            return
        raise OutputFolderError(
            f"OUTPUT_DIR '{os.path.dirname(path)}' is in use by {owner}; wait for its end, or add OUTPUT_DIR "
            "another/folder at the end"
        ) from error
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    _held.append(file)


def _same_file(first: str, second: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(first, second)
    return False
