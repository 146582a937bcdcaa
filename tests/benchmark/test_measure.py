"""Measurements against what can be worked out by hand."""

import time

import pytest
import torch

from effps_solo.benchmark.measure import count_macs, fitted_exponent, percentile, timed


def test_macs_of_a_convolution_and_a_product() -> None:
    conv = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)
    a, b = torch.zeros(2, 7), torch.zeros(7, 11)

    def call() -> None:
        conv(torch.zeros(1, 3, 4, 6))
        a @ b

    assert count_macs(call) == 5 * 3 * 9 * 4 * 6 + 2 * 7 * 11
    assert count_macs(lambda: None) == 0


def test_sleep_takes_time_but_no_processor() -> None:
    seconds = timed(lambda: time.sleep(0.05))
    assert seconds.wall >= 0.05 > seconds.process


def test_percentiles() -> None:
    values = [4.0, 1.0, 3.0, 2.0, 5.0]
    assert [percentile(values, p) for p in (0, 50, 95, 100)] == pytest.approx([1, 3, 4.8, 5])
    assert percentile([7.0], 95) == 7.0


def test_exponents() -> None:
    x = [1.0, 2.0, 4.0, 8.0]
    assert fitted_exponent(x, [3 * v**1.5 for v in x]) == pytest.approx(1.5)
    assert fitted_exponent(x, [5.0] * 4) == pytest.approx(0)
    # No logarithm, and so no point of the line.
    assert fitted_exponent([0.0, *x], [0.0, *(v**2 for v in x)]) == pytest.approx(2)
    assert fitted_exponent([2.0], [1.0]) is None
    assert fitted_exponent([2.0, 2.0], [1.0, 3.0]) is None
    assert fitted_exponent([], []) is None
