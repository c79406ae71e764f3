"""A sparkline: a series of numbers as a row of small bars (Tufte, "Beautiful Evidence", 2006)."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*#@"
LEAST_SPAN = math.log(1.5)  # from the lowest bar to the highest, so that one percent does not look like a leap


def sparkline(values: Sequence[float | None], bars: str = BARS) -> str:
    """A bar for each value on a logarithmic scale, so that equal ratios have equal heights; None is a blank.

    Args:
        values: positive numbers.
        bars: from the lowest to the highest.
    """
    known = [value for value in values if value is not None]
    low, high = (math.log(min(known)), math.log(max(known))) if known else (0.0, 0.0)
    span = max(high - low, LEAST_SPAN)

    def bar(value: float | None) -> str:
        if value is None:
            return " "
        return bars[round((math.log(value) - low) / span * (len(bars) - 1))]

    return "".join(map(bar, values))


def resampled(steps: Sequence[tuple[int, float]], results: int, width: int) -> list[float | None]:
    """The best after each of `width` equal parts of the results; None before the first.

    Args:
        steps: (results so far, best so far) at each improvement.
    """
    width = min(width, results)
    found: list[float | None] = []
    number, best = 0, None
    for part in range(1, width + 1):
        while number < len(steps) and steps[number][0] <= part * results // width:
            best = steps[number][1]
            number += 1
        found.append(best)
    return found
