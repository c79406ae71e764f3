"""The timing's own test: one kernel against itself, and against itself with 2 % more work.

A trial is a race of three contestants over so many rounds: a kernel, the same kernel again, and 51 of its launches
where the others have 50. So the slower one is not a scaled sample: the device does the work. The intervals should hold
a ratio of 1 for the first two in 95 of 100 trials, and exclude it for the third in nearly all.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence

from evoflash.core.reliability import SelfTested
from evoflash.core.statistics import Ratio, paired_ratio
from evoflash.worker.clock import Call, Clock

MORE_LAUNCHES = 50  # one more for so many: 2 %
FEWEST_TRIALS = 10


def self_test(
    watch: Clock, calls: Sequence[Call], again: Sequence[Call], trials: int, rounds: int, seed: int, budget_s: float
) -> SelfTested:
    """Trials until the budget is spent, `FEWEST_TRIALS` at least.

    Args:
        calls, again: of one kernel that is loaded twice, each with outputs of its own, as two finalists are.
    """
    trial = watch.capture(calls, len(calls))
    estimate = statistics.median(watch.sample(trial) for _ in range(5))
    step = MORE_LAUNCHES * len(calls)
    launches = max(1, round(watch.launches(estimate, len(calls)) / step)) * step
    more = launches // MORE_LAUNCHES
    captured = {
        "first": (watch.capture(calls, launches), 1.0),
        "again": (watch.capture(again, launches), 1.0),
        "more": (watch.capture(calls, launches + more), (launches + more) / launches),  # its time, as if of `launches`
    }
    rng, order = random.Random(seed), list(captured)
    start = time.monotonic()
    same: list[Ratio] = []
    slower: list[Ratio] = []
    firsts: list[float] = []
    while len(same) < trials and (len(same) < FEWEST_TRIALS or time.monotonic() - start < budget_s):
        samples: dict[str, list[float]] = {name: [] for name in order}
        for number in range(-1, rounds):
            rng.shuffle(order)
            for name in order:
                launched, factor = captured[name]
                value = watch.sample(launched) * factor
                if number >= 0:
                    samples[name].append(value)
        same.append(paired_ratio(samples["again"], samples["first"]))
        slower.append(paired_ratio(samples["more"], samples["first"]))
        firsts += samples["first"]
    return SelfTested(
        same=tuple(same),
        more=tuple(slower),
        rounds=rounds,
        launches=launches,
        p50_us=statistics.median(firsts),
        seconds=time.monotonic() - start,
    )
