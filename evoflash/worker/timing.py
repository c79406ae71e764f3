"""Timing of one kernel: samples of many launches that rotate over the input sets."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evoflash.core.evaluation import Timing
from evoflash.worker.clock import Call, Clock
from evoflash.worker.updates import Repetition

WARMUP_LAUNCHES = 20
MIN_SAMPLES = 20  # taken even when they exceed `Clock.max_sampling_s`
GIVE_UP_RATIO = 3.0  # a candidate slower than the best by this factor is not timed in full


@dataclass(frozen=True)
class Measured:
    """A timing.

    Attributes:
        quick: whether timing stopped after the quick samples.
        captured: the timed launches, for repetition.
    """

    timing: Timing
    quick: bool
    captured: Any


def measure(
    clock: Clock,
    calls: Sequence[Call],
    *,
    samples: int,
    quick_samples: int,
    best_us: float | None,
    regime: str = "warm",
    before: Call | None = None,
    repetition: Repetition | None = None,
) -> Measured:
    """Times calls; stops after the quick samples when they are slower than the best by `GIVE_UP_RATIO`.

    Args:
        samples: maximum number of samples; see `Clock.max_sampling_s`.
        best_us: the best time so far; None never stops early.
        before: is called before each sample, outside of its time.
        repetition: limits the launches of a sample, where they update something in place.
    """
    captured = clock.capture(calls, len(calls))
    clock.sample(captured, before)
    quick: list[float] = []
    for _ in range(quick_samples):
        quick.append(clock.sample(captured, before))
        if best_us is not None and len(quick) >= 3 and min(quick) > GIVE_UP_RATIO * best_us:
            return Measured(_timing(regime, quick, len(calls)), True, captured)
    launches = clock.launches(statistics.median(quick), len(calls))
    if repetition is not None:
        launches = repetition.launches(launches, len(calls))
    if launches != len(calls):
        captured = clock.capture(calls, launches)
    for _ in range(-(-WARMUP_LAUNCHES // launches)):
        clock.sample(captured, before)
    full: list[float] = []
    start = time.monotonic()
    while len(full) < samples and (len(full) < MIN_SAMPLES or time.monotonic() - start < clock.max_sampling_s):
        full.append(clock.sample(captured, before))
    return Measured(_timing(regime, full, launches), False, captured)


def _timing(regime: str, samples: Sequence[float], launches: int) -> Timing:
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return Timing(regime=regime, p50_us=p50, p90_us=p90, p99_us=p99, launches=launches, samples=tuple(samples))
