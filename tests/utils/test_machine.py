"""The memory of freed tensors, and the most that was in use."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Dict

import numpy as np
import pytest

from effps_solo.utils.machine import keep_freed_memory, num_cores, peak_resident_memory

# Page faults of the second of two equal blocks of 200 MB, after the first one was freed.
_SCRIPT = """
import resource, sys, threading
from effps_solo.utils.machine import keep_freed_memory
kept = keep_freed_memory()
faults = []
def fill():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(200 * 2**20)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
def run():
    fill()
    fill()
if sys.argv[1] == "thread":
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
else:
    run()
print(int(kept), faults[1])
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def _kept_and_faults(where: str, **environment: str) -> list:
    variables: Dict[str, str] = {"PATH": "", "PYTHONPATH": ":".join(sys.path), **environment}
    words = [sys.executable, "-c", _SCRIPT, where]
    output = subprocess.run(words, env=variables, capture_output=True, text=True, check=True)
    return [int(word) for word in output.stdout.split()]


@glibc
@pytest.mark.parametrize("where", ["main", "thread"])
def test_freed_memory_is_used_again(where: str) -> None:
    kept, faults = _kept_and_faults(where)
    assert kept == 1 and faults < 100


@glibc
@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_the_environment_knows_better(name: str) -> None:
    value = {"MALLOC_ARENA_MAX": "4", "GLIBC_TUNABLES": "glibc.malloc.arena_max=4"}[name]
    kept, faults = _kept_and_faults("main", **{name: value})
    assert kept == 0 and faults > 100


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()


def test_there_is_a_core() -> None:
    assert num_cores() >= 1


def test_the_peak_is_that_of_this_process_after_memory_was_freed(project_root: Path) -> None:
    """... and not that of the parent, which holds 300 MiB more."""
    ballast = np.ones(300 * 2**20, np.uint8)
    code = (
        "from effps_solo.utils.machine import peak_resident_memory\n"
        "before = peak_resident_memory()\n"
        "a = bytearray(64 * 2**20)\n"
        "for i in range(0, len(a), 4096): a[i] = 1\n"
        "del a\n"
        "print(before, peak_resident_memory())\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True
    ).stdout
    before, after = map(int, output.split())
    assert 63 * 2**20 <= after - before < 72 * 2**20
    assert before < 200 * 2**20 < peak_resident_memory()
    assert ballast.all()
