"""Means, spreads and differences worked out by hand."""

import pytest

from effps_solo.comparison.metrics import (
    METRICS,
    Metric,
    is_difference,
    mean,
    means_by_metric,
    spread,
    spread_by_metric,
)


def test_the_spread_is_that_of_the_most_scattered_method() -> None:
    # 41 - 40 = 1; 52 - 49.5 = 2.5; a single seed says nothing, however far it is from the others.
    assert spread([[40.0, 41.0], [50.0, 49.5, 52.0], [90.0]]) == 2.5


def test_a_difference_must_be_greater_than_the_spread() -> None:
    first, second = [40.0, 41.0], [42.0, 43.0]  # means 40.5 and 42.5, spread 1
    found = spread([first, second])
    assert found == 1
    assert is_difference(mean(first), mean(second), found) is True
    assert is_difference(mean(second), mean(first), found) is True
    assert is_difference(40.5, 41.5, found) is False  # exactly the spread is not greater
    assert is_difference(41.5, 40.5, found) is False
    assert is_difference(40.5, 41.6, found) is True
    assert is_difference(3.0, 3.0, 0.0) is False and is_difference(3.0, 3.5, 0.0) is True


def test_one_seed_has_no_spread() -> None:
    assert spread([]) is None and spread([[], [40.0], [90.0]]) is None
    assert is_difference(40.0, 90.0, None) is None


def test_undefined_values_are_left_out() -> None:
    assert mean([]) is None and mean([None, None]) is None and mean([None, 2.0, 4.0]) == 3.0
    assert spread([[None, 5.0], [1.0, None, 2.0]]) == 1.0 and spread([[None, 5.0]]) is None
    assert is_difference(None, 1.0, 0.5) is None and is_difference(1.0, None, 0.5) is None


def test_every_metric_has_its_own() -> None:
    keys = [metric.key for metric in METRICS]
    first = [{key: float(k) for k, key in enumerate(keys)} for _ in range(2)]
    second = [{key: 10.0 + k * seed for k, key in enumerate(keys)} for seed in (0, 1)]
    assert means_by_metric(second) == {key: 10 + k / 2 for k, key in enumerate(keys)}
    assert spread_by_metric([first, second]) == {key: k for k, key in enumerate(keys)}


@pytest.mark.parametrize(
    "metric, value, text",
    [
        (Metric("PQ", "PQ"), 45.55001, "45.6"),
        (Metric("t", "ms", 1e3, 0), 0.2174, "217"),
        (Metric("p", "M", 1e-6, 2), 3_141_592, "3.14"),
        (Metric("PQ", "PQ"), None, "-"),
    ],
)
def test_text(metric: Metric, value: float, text: str) -> None:
    assert metric.text(value) == text


def test_sign_of_a_difference() -> None:
    assert Metric("PQ", "PQ").text(1.25, sign="+") == "+1.2"
    assert Metric("PQ", "PQ").text(-1.0, sign="+") == "-1.0"
