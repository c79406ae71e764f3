"""Sparklines."""

import pytest

from evoflash.report.live.sparkline import ASCII_BARS, resampled, sparkline


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], ""),
        ([None, None], "  "),
        ([5.0, 5.0], "▁▁"),
        ([128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0], "█▇▆▅▄▃▂▁"),  # equal ratios, equal steps
        ([None, 2.0, 1.0], " █▁"),
        ([1.01, 1.0], "▁▁"),  # one percent is no leap
        ([1.2, 1.1, 1.0], "▄▃▁"),
    ],
)
def test_bars_have_the_height_of_the_logarithm(values, shown):
    assert sparkline(values) == shown


def test_a_terminal_without_unicode_has_ascii():
    assert sparkline([4.0, 2.0, 1.0], ASCII_BARS) == "@+_"


@pytest.mark.parametrize(
    ("steps", "results", "width", "found"),
    [
        ([], 0, 10, []),
        ([], 3, 10, [None, None, None]),
        ([(2, 9.0)], 3, 10, [None, 9.0, 9.0]),
        ([(2, 9.0), (5, 7.0), (6, 6.0)], 8, 4, [9.0, 9.0, 6.0, 6.0]),
        ([(1, 9.0), (1000, 8.0)], 1000, 3, [9.0, 9.0, 8.0]),  # the last improvement is always seen
    ],
)
def test_a_curve_has_the_best_at_the_end_of_each_part(steps, results, width, found):
    assert resampled(steps, results, width) == found
