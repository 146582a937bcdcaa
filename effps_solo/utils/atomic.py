"""Files that are there as a whole or not at all. Standard library only."""

import contextlib
import os
from typing import IO, Callable, Union

Content = Union[bytes, Callable[[IO[bytes]], object]]


def write_atomically(
    path: Union[str, "os.PathLike[str]"], content: Content, *, durable: bool = False
) -> None:
    """Write a file under another name in the same folder, then rename it.

    Whatever happens meanwhile - a kill, a full disk - ``path`` holds its old content or the whole new
    one.

    Args:
        path: of the file; its folder is created if need be.
        content: the bytes, or what puts them into an open binary file.
        durable: wait until the disk has it, so that a power cut does no harm either.

    Raises:
        what ``content`` raises, or an OSError; the unfinished file is removed.
    """
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    unfinished = f"{os.fspath(path)}.part"
    try:
        with open(unfinished, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(unfinished)
        raise
    if durable:
        _flush_folder(folder)


def _flush_folder(folder: str) -> None:
    """The new name survives a power cut, too; not every file system knows that for folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
