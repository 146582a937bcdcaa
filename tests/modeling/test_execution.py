"""How steps are carried out: by device, and in an exported graph."""

from typing import Any, Callable

import torch

from effps_solo.modeling.execution import indices_where, works_in_parts


def test_a_cpu_works_in_parts_but_in_a_graph(as_exported: Callable[[], Any]) -> None:
    assert works_in_parts(torch.zeros(1))
    assert not works_in_parts(torch.zeros(1, device="meta"))
    with as_exported():
        assert not works_in_parts(torch.zeros(1))


def test_indices_where(as_exported: Callable[[], Any]) -> None:
    conditions = [[False, False, True], [True, False, True], [True], [False], []]
    conditions = [torch.tensor(each, dtype=torch.bool) for each in conditions]
    found = [indices_where(condition) for condition in conditions]
    assert [x.tolist() for x in found] == [[2], [0, 2], [0], [], []]
    assert {x.dtype for x in found} == {torch.int64}
    with as_exported():  # the first is always one of them
        found = [indices_where(condition) for condition in conditions[:4]]
    assert [x.tolist() for x in found] == [[0, 2], [0, 2], [0], [0]]
