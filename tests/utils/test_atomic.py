"""Files that are there as a whole or not at all."""

import errno
import os
from pathlib import Path
from typing import IO

import pytest

from effps_solo.utils.atomic import write_atomically, write_folder_atomically

FULL = Path("/dev/full")  # the kernel's disk without space


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_written_and_replaced(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "new" / "a"
    for content in (b"one", b"", b"three"):
        write_atomically(str(path), lambda file: file.write(content), durable=durable)
        assert path.read_bytes() == content
        write_atomically(path, content + b"!", durable=durable)
        assert path.read_bytes() == content + b"!"
    assert os.listdir(path.parent) == ["a"]


def test_a_path_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically("a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_nobody_sees_it_half_written(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        file.flush()
        assert path.read_bytes() == b"old"
        file.write(b" and whole")

    write_atomically(str(path), write)
    assert path.read_bytes() == b"half and whole"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failure_leaves_the_old_content(tmp_path: Path, error: type) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(str(path), write)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
def test_a_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    (tmp_path / "a.part").symlink_to(FULL)
    with pytest.raises(OSError) as info:
        write_atomically(str(path), lambda file: file.write(b"new"))
    assert info.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_a_folder_is_written_and_replaced(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    for name in ("a", "b"):
        write_folder_atomically(str(target), lambda part, name=name: Path(part, name).touch())  # type: ignore[misc]
        assert os.listdir(target) == [name] and os.listdir(target.parent) == ["folder"]
    write_folder_atomically(target, lambda part: None)
    assert os.listdir(target) == []


def test_a_failure_leaves_the_folder_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "folder"

    def fail(part: str) -> None:
        Path(part, "half").touch()
        assert not target.exists() or os.listdir(target) == ["a"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder_atomically(target, fail)
    assert os.listdir(tmp_path) == []
    write_folder_atomically(target, lambda part: Path(part, "a").touch())
    with pytest.raises(KeyboardInterrupt):
        write_folder_atomically(target, fail)
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(target) == ["a"]


def test_what_a_kill_left_between_two_renamings(tmp_path: Path) -> None:
    for name in ("folder.part", "folder.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()

    def fail(part: str) -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError):
        write_folder_atomically(tmp_path / "folder", fail)
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == ["folder.old"]
