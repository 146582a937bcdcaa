"""Files that are there as a whole or not at all. Standard library only."""

import contextlib
import os
import shutil
import tempfile
from typing import IO, Callable, Union

from .errors import UserError

Content = Union[bytes, Callable[[IO[bytes]], object]]


def make_writable(folder: Union[str, "os.PathLike[str]"], name: str) -> None:
    """Create the folder that the option or key ``name`` gives. UserError: it cannot be written to."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{name} '{os.fspath(folder)}' is not a folder to write to ({error.strerror}); name another"
        ) from error


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


def write_folder_atomically(
    path: Union[str, "os.PathLike[str]"], write: Callable[[str], object]
) -> None:
    """Fill a folder under another name beside ``path``, then let it take the place of the one there.

    After a kill ``path`` is the old folder, the new one or, for the moment between two renamings,
    missing, with the old one in ``path``.old; never a mixture.

    Args:
        write: puts the files into the folder that it is given.

    Raises:
        what ``write`` raises, or an OSError; ``path`` is as it was.
    """
    target = os.path.abspath(path)
    unfinished, old = f"{target}.part", f"{target}.old"
    if os.path.isdir(old) and not os.path.exists(target):
        os.rename(old, target)  # of a killed run
    for left_over in (unfinished, old):
        shutil.rmtree(left_over, ignore_errors=True)
    os.makedirs(unfinished)
    try:
        write(unfinished)
        if os.path.isdir(target):
            os.rename(target, old)
        os.rename(unfinished, target)
    except BaseException:
        if os.path.isdir(old) and not os.path.exists(target):
            os.rename(old, target)
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _flush_folder(folder: str) -> None:
    """The new name survives a power cut, too; not every file system knows that for folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
