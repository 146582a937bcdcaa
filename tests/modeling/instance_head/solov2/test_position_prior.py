"""The position prior against its formula, point by point."""

import math
from typing import Tuple

import pytest
import torch

from effps_solo.modeling.instance_head.solov2.position_prior import (
    MAX_LOG_EXTENT,
    NUM_PARAMETERS,
    PEAK_LOGIT,
    Gaussians,
    base_extents,
)


def position_prior_logits(
    parameters: torch.Tensor, centers: torch.Tensor, extents: torch.Tensor, size: Tuple[int, int]
) -> torch.Tensor:
    """(K, h, w), the sums of the terms."""
    rows, columns = Gaussians.of(parameters, centers, extents).terms(size)
    return rows[:, :, None] + columns[:, None, :]


def test_worked_by_hand() -> None:
    """An untrained prior at (6, 10) with a deviation of 8 px."""
    logits = position_prior_logits(
        torch.zeros(1, NUM_PARAMETERS), torch.tensor([[6.0, 10.0]]), torch.tensor([8.0]), (6, 8)
    )
    assert logits.shape == (1, 6, 8)
    assert float(logits[0, 2, 1]) == pytest.approx(PEAK_LOGIT)  # the point (6, 10) itself
    assert float(logits[0, 2, 3]) == pytest.approx(PEAK_LOGIT - 0.5)  # 8 px to the right
    assert float(logits[0, 0, 1]) == pytest.approx(PEAK_LOGIT - 0.5)  # 8 px above
    assert float(logits[0, 2, 5]) == pytest.approx(0.0)  # two deviations
    assert float(logits[0, 4, 3]) == pytest.approx(PEAK_LOGIT - 1.0)  # 8 px both ways


def test_against_the_formula() -> None:
    torch.manual_seed(0)
    parameters = torch.randn(4, NUM_PARAMETERS)
    parameters[0, 2], parameters[1, 3] = 9.0, -9.0  # beyond the bound of the extents
    centers, extents = 40 * torch.rand(4, 2), 4 + 12 * torch.rand(4)
    actual = position_prior_logits(parameters, centers, extents, (5, 7))
    for k in range(4):
        dx, dy, log_x, log_y, bias = parameters[k].tolist()
        base = float(extents[k])
        center_x, center_y = float(centers[k, 0]) + dx * base, float(centers[k, 1]) + dy * base
        sigma_x = base * math.exp(max(-MAX_LOG_EXTENT, min(MAX_LOG_EXTENT, log_x)))
        sigma_y = base * math.exp(max(-MAX_LOG_EXTENT, min(MAX_LOG_EXTENT, log_y)))
        for i in range(5):
            for j in range(7):
                x, y = 4 * j + 2, 4 * i + 2
                expected = PEAK_LOGIT + bias
                expected -= 0.5 * ((x - center_x) / sigma_x) ** 2
                expected -= 0.5 * ((y - center_y) / sigma_y) ** 2
                assert float(actual[k, i, j]) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_types_and_nothing() -> None:
    parameters = torch.zeros(3, NUM_PARAMETERS)
    centers, extents = torch.zeros(3, 2), torch.ones(3)
    logits = position_prior_logits(parameters.bfloat16(), centers, extents, (2, 2))
    assert logits.dtype == torch.float32
    logits = position_prior_logits(parameters[:0], centers[:0], extents[:0], (2, 3))
    assert logits.shape == (0, 2, 3)


def test_every_parameter_has_a_gradient() -> None:
    parameters = torch.zeros(1, NUM_PARAMETERS, requires_grad=True)
    centers, extents = torch.tensor([[9.0, 13.0]]), torch.tensor([8.0])
    position_prior_logits(parameters, centers, extents, (6, 6))[0, 1, 1].backward()
    assert parameters.grad.isfinite().all() and parameters.grad.all()


def test_base_extents() -> None:
    """A quarter of the typical size: the first level's upper end, or twice a lower end."""
    published = [(1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)]
    assert base_extents(published) == (6.0, 24.0, 48.0, 96.0, 192.0)
    assert base_extents([(1, 4)]) == (0.5,)
