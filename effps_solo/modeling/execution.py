"""How the steps from raw outputs to results are carried out, by device.

All devices run the same functions. On a CPU it pays to work on parts that stay in the caches: tiles, windows,
chunks, one instance after the other. Elsewhere each operation is a launch and each number that the host
reads is a wait, and an exported graph has no loops: everything is done at once, in a number of operations
that does not grow with the number of objects.
"""

from typing import Sequence

import torch


def works_in_parts(x: torch.Tensor) -> bool:
    """Whether what is made of ``x`` is made part by part: eagerly on a CPU."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def indices_where(condition: torch.Tensor) -> torch.Tensor:
    """(n,) bool -> the indices where it holds, ascending.

    In an exported graph index 0 is always one of them, for no tensor may be empty there: what is chosen so
    needs a mask of what is valid.
    """
    if not torch.compiler.is_compiling():
        return condition.nonzero()[:, 0]
    first = torch.arange(condition.shape[0], device=condition.device) == 0
    indices = (condition | first).nonzero()[:, 0]
    torch._check(indices.shape[0] >= 1)
    return indices


def is_known(size: Sequence[int]) -> bool:
    """Whether lengths are numbers, not those of a graph for any size."""
    return not any(isinstance(length, torch.SymInt) for length in size)


def cut_to(maps: torch.Tensor, size: Sequence[int], first: int = 1) -> torch.Tensor:
    """The first (h, w) of ``size`` in the dimensions ``first`` and the next one."""
    if is_known(size):
        return maps.narrow(first, 0, size[0]).narrow(first + 1, 0, size[1])
    # Whether a slice is all there is would be decided at export.
    rows, columns = (torch.arange(length, device=maps.device) for length in size)
    return maps.index_select(first, rows).index_select(first + 1, columns)
