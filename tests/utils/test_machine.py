"""The memory of freed tensors."""

import platform
import subprocess
import sys
from typing import Dict

import pytest

from effps_solo.utils.machine import keep_freed_memory, num_cores

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
