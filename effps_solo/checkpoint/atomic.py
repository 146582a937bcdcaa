"""Files that are there as a whole or not at all."""

import contextlib
import os
from typing import IO, Callable


def write_atomically(path: str, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under another name in the same folder, flush it to the disk, rename it.

    Whatever happens meanwhile - a kill, a full disk, a power cut - ``path`` holds its old content or
    the whole new one.

    Args:
        path: of the file.
        write: puts the content into an open binary file.

    Raises:
        what ``write`` raises, or an OSError; the unfinished file is removed.
    """
    unfinished = f"{path}.part"
    try:
        with open(unfinished, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(unfinished)
        raise
    _flush_folder(os.path.dirname(path) or ".")


def _flush_folder(folder: str) -> None:
    """The new name survives a power cut, too; not every file system knows that for folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
