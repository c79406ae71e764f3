"""Which is faster, and by how much? Contestants take turns in rounds, so that a slow moment is slow for all of them."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evoflash.core.finals import Conditions
from evoflash.core.statistics import are_settled
from evoflash.worker.clock import Call, Clock
from evoflash.worker.device_monitor import DeviceMonitor, Look, summary, was_held_back

BOOTSTRAPS = 2000
FEWEST_ROUNDS = 3  # of a race that runs out of time
MOST_ROUNDS = 15  # times the rounds that were wanted, while there is time to spare
ALWAYS = 5  # rounds from the first on in which a device was held back, and then is so always
SLOW_US = 1e5  # a launch this long is measured well enough by one look


@dataclass(frozen=True)
class Ready:
    """A contestant made ready for a race: its calls, and as many launches of them as a sample takes."""

    calls: Sequence[Call]
    captured: Any
    launches: int


def ready(watch: Clock, calls: Sequence[Call]) -> Ready:
    """How many launches a sample takes, by a trial.

    Raises:
        RuntimeError: when the calls fail, or too little memory is left for a graph of them.
    """
    captured = watch.capture(calls, len(calls))
    estimate = watch.sample(captured)
    if estimate < SLOW_US:
        estimate = statistics.median(watch.sample(captured) for _ in range(5))
    launches = watch.launches(estimate, len(calls))
    return Ready(calls, captured if launches == len(calls) else watch.capture(calls, launches), launches)


@dataclass(frozen=True)
class Interleaved:
    """Samples of each contestant, one a round, and what the device did meanwhile."""

    samples: dict[str, list[float]]
    conditions: Conditions


def interleave(
    watch: Clock,
    contestants: Mapping[str, Ready],
    rounds: int,
    seed: int = 0,
    *,
    warmup: int = 2,
    budget_s: float | None = None,
    spare_s: float = 0.0,
    close: Sequence[str] = (),
    monitor: DeviceMonitor | None = None,
) -> Interleaved:
    """Samples of each contestant, one a round, in an order drawn anew each round.

    A round in which the device was held back is thrown away and held again, at most as many as were wanted. Where the
    first `ALWAYS` are all such, no other are to be had (a large kernel takes a GPU to its limit of power and keeps it
    there): from then on they count.

    Args:
        warmup: rounds that are not recorded; they take at most a tenth of the budget.
        budget_s: seconds after which no further round begins, once `FEWEST_ROUNDS` are recorded.
        spare_s: seconds in which further rounds may begin, up to `MOST_ROUNDS` times as many, while there is something
            to be told.
        close: those that are to be told apart; see `are_settled`.
        monitor: looks at the device before and after each round.
    """
    order = list(contestants)
    rng = random.Random(seed)
    samples: dict[str, list[float]] = {name: [] for name in order}
    budget = budget_s if budget_s is not None else math.inf
    start = time.monotonic()
    looks: list[Look] = []
    done = thrown_away = held_back = 0
    number = -warmup
    while done < rounds or (done < MOST_ROUNDS * rounds and time.monotonic() - start < spare_s):
        if done >= rounds and done % rounds == 0 and are_settled({name: samples[name] for name in close}):
            break
        spent = time.monotonic() - start
        if done >= FEWEST_ROUNDS and spent > budget:
            break
        number += 1
        if number <= 0 and spent > budget / 10:
            continue
        before = monitor.look() if monitor is not None else None
        rng.shuffle(order)
        values = {}
        for name in order:
            contestants[name].calls[0]()
            values[name] = watch.sample(contestants[name].captured)
        after = monitor.look() if monitor is not None else None
        if number <= 0:
            continue
        is_always = thrown_away >= ALWAYS and done == held_back
        if was_held_back(before, after):
            if thrown_away < rounds and not is_always:
                thrown_away += 1
                continue
            held_back += 1
        done += 1
        looks += [after] if after is not None else []
        for name, value in values.items():
            samples[name].append(value)
    return Interleaved(samples, summary(looks, thrown_away, held_back))
