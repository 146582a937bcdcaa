"""Random numbers that depend on a key alone, not on the process or on earlier draws."""

import contextlib
import random
from typing import Iterator

import numpy as np
import torch


def seed_all(*key: int) -> None:
    """Seed the global generators of Python, numpy and torch (all devices) with ``key``.

    Args:
        key: integers from 0 on; keys of different lengths or values give unrelated numbers.
    """
    torch.manual_seed(_seed_cpu(*key))


def _seed_cpu(*key: int) -> int:
    """The same of the CPU alone; the seed of torch. Before there is a GPU torch.manual_seed takes 1 ms."""
    # Its own padding makes (1,) and (1, 0) the same.
    state = np.random.SeedSequence((len(key), *key)).generate_state(4)
    random.seed(state.tobytes())
    np.random.seed(state)
    seed = int(state[0]) << 32 | int(state[1])
    torch.default_generator.manual_seed(seed)
    return seed


@contextlib.contextmanager
def seeded(*key: int) -> Iterator[None]:
    """:func:`seed_all` for what runs on the CPU within the context; afterwards all is as before."""
    python, legacy_numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _seed_cpu(*key)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy_numpy)
        torch.set_rng_state(cpu)
