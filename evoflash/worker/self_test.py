"""Self-test of the timing: a kernel against itself, and against itself with 2 % more work.

A trial times three contestants in interleaved rounds: a kernel, a copy of it, and the kernel with 51 launches where the
others have 50. The extra work is real, not a scaled sample. In 95 of 100 trials the interval of the copy's ratio should
contain 1, and in nearly all trials that of the third contestant should exclude it.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence

from evoflash.core.reliability import SelfTested
from evoflash.core.statistics import Ratio, paired_ratio
from evoflash.worker.clock import Call, Clock

MORE_LAUNCHES = 50  # one extra launch per this many: 2 %
MIN_TRIALS = 10


def self_test(
    clock: Clock, calls: Sequence[Call], again: Sequence[Call], trials: int, rounds: int, seed: int, budget_s: float
) -> SelfTested:
    """Runs trials until the budget is spent, but at least `MIN_TRIALS`.

    Args:
        calls, again: the calls of one kernel that is loaded twice, each with its own outputs, like two finalists.
        trials: maximum number of trials.
        rounds: rounds per trial.
        budget_s: seconds after which no further trial begins.
    """
    trial = clock.capture(calls, len(calls))
    estimate = statistics.median(clock.sample(trial) for _ in range(5))
    step = MORE_LAUNCHES * len(calls)
    launches = max(1, round(clock.launches(estimate, len(calls)) / step)) * step
    more = launches // MORE_LAUNCHES
    captured = {
        "first": (clock.capture(calls, launches), 1.0),
        "again": (clock.capture(again, launches), 1.0),
        "more": (clock.capture(calls, launches + more), (launches + more) / launches),  # scaled to `launches` launches
    }
    rng, order = random.Random(seed), list(captured)
    start = time.monotonic()
    same: list[Ratio] = []
    slower: list[Ratio] = []
    firsts: list[float] = []
    while len(same) < trials and (len(same) < MIN_TRIALS or time.monotonic() - start < budget_s):
        samples: dict[str, list[float]] = {name: [] for name in order}
        for number in range(-1, rounds):
            rng.shuffle(order)
            for name in order:
                launched, factor = captured[name]
                value = clock.sample(launched) * factor
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
