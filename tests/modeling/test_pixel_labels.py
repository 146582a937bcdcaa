"""Labels of pixels: as a map and by blocks, counted and numbered alike."""

import pytest
import torch

from effps_solo.modeling.pixel_labels import LabelMap, UpsampledLabels


def test_worked_by_hand() -> None:
    """Two by three pixels, one row of two blocks; the second is contested, one of its pixels there twice."""
    labels = UpsampledLabels(
        blocks=torch.tensor([[4, 7]]),
        contested=torch.tensor([[False, True]]),
        rows=torch.tensor([0, 0]),
        columns=torch.tensor([0, 0, 1]),
        pixels=torch.tensor([2, 5, 5]),
        labels=torch.tensor([4, 1, 1]),
        counted=torch.tensor([True, True, False]),
    )
    assert labels.size == (2, 3) and labels.map().tolist() == [[4, 4, 4], [4, 4, 1]]
    assert labels.counts(8).tolist() == [0, 1, 0, 0, 5, 0, 0, 0]
    numbers = torch.tensor([0, 9, 0, 0, 3, 0, 0, 0])
    assert labels.numbered(numbers).tolist() == [[3, 3, 3], [3, 3, 9]]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_both_kinds_agree(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    contested = torch.rand(5, 6) < 0.3
    rows, columns = torch.randint(5, (20,)).sort().values, torch.randint(6, (30,)).sort().values
    pixels = contested[rows][:, columns].flatten().nonzero()[:, 0]
    blocks = torch.randint(9, (5, 6)).to(dtype)
    decided = torch.randint(9, (len(pixels),)).to(dtype)
    twice, decided = torch.cat([pixels, pixels[:7]]), torch.cat([decided, decided[:7]])
    counted = torch.arange(len(twice)) < len(pixels)
    labels = UpsampledLabels(blocks, contested, rows, columns, twice, decided, counted)
    as_map = LabelMap(labels.map())
    assert as_map.size == labels.size == (20, 30)
    assert torch.equal(as_map.counts(10), labels.counts(10))
    assert labels.counts(10).tolist() == [int((as_map.labels == k).sum()) for k in range(10)]
    numbers = torch.randperm(9)
    assert torch.equal(as_map.numbered(numbers), labels.numbered(numbers))
    assert torch.equal(labels.numbered(numbers), numbers[labels.map().long()])
