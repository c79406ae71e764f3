"""How fast is a kernel? Samples of many launches over rotating inputs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evoflash.core.evaluation import Timing
from evoflash.worker.clock import Call, Clock

WARMUP_LAUNCHES = 20
FEWEST_SAMPLES = 20  # of a timing in which each takes long
GIVE_UP_RATIO = 3.0  # a candidate this far behind the best is not timed in full


@dataclass(frozen=True)
class Measured:
    """A timing, whether it was given up after the quick samples, and the launches that were timed, to be repeated."""

    timing: Timing
    quick: bool
    captured: Any


def measure(
    watch: Clock,
    calls: Sequence[Call],
    *,
    samples: int,
    quick_samples: int,
    best_us: float | None,
    regime: str = "warm",
) -> Measured:
    """Times calls; gives up after the quick samples when they are far behind the best.

    Args:
        samples: at most; see `Clock.enough_s`.
    """
    captured = watch.capture(calls, len(calls))
    watch.sample(captured)
    quick: list[float] = []
    for _ in range(quick_samples):
        quick.append(watch.sample(captured))
        if best_us is not None and len(quick) >= 3 and min(quick) > GIVE_UP_RATIO * best_us:
            return Measured(_timing(regime, quick, len(calls)), True, captured)
    launches = watch.launches(statistics.median(quick), len(calls))
    if launches != len(calls):
        captured = watch.capture(calls, launches)
    for _ in range(-(-WARMUP_LAUNCHES // launches)):
        watch.sample(captured)
    full: list[float] = []
    start = time.monotonic()
    while len(full) < samples and (len(full) < FEWEST_SAMPLES or time.monotonic() - start < watch.enough_s):
        full.append(watch.sample(captured))
    return Measured(_timing(regime, full, launches), False, captured)


def _timing(regime: str, samples: Sequence[float], launches: int) -> Timing:
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return Timing(regime=regime, p50_us=p50, p90_us=p90, p99_us=p99, launches=launches, samples=tuple(samples))
