"""A stopwatch for the calls of a function."""

import time
from collections.abc import Callable
from typing import Any


def timed(call: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
    """The same call, which notes how many milliseconds it took."""

    def measured(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            into.append(1e3 * (time.perf_counter() - start))

    return measured
