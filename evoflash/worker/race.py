"""Interleaved timing: contestants take turns in rounds, so that disturbances affect all of them alike."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evoflash.core.finals import Conditions
from evoflash.core.statistics import are_settled
from evoflash.worker.clock import Call, Clock
from evoflash.worker.device_monitor import DeviceMonitor, DeviceState, summary, was_throttled

MIN_ROUNDS = 3  # recorded even when the budget is exceeded
MAX_ROUNDS_FACTOR = 15  # maximum number of rounds, as a multiple of the requested rounds, while there is spare time
THROTTLED_STREAK = 5  # if this many rounds from the start are throttled, the device always is under this load
OUT_OF_MEMORY = "OutOfMemoryError"  # PyTorch's, which is not imported here
SLOW_US = 1e5  # for launches this long one sample is a good enough estimate


@dataclass(frozen=True)
class PreparedCalls:
    """A contestant's calls, captured for sampling.

    Attributes:
        calls: one call per input set.
        captured: the launches of one sample, as the clock captured them.
        launches: launches per sample.
    """

    calls: Sequence[Call]
    captured: Any
    launches: int


def prepare(clock: Clock, calls: Sequence[Call]) -> PreparedCalls:
    """Captures calls, with the number of launches per sample chosen by a trial.

    Raises:
        RuntimeError: when the calls fail, or there is too little memory to capture them.
    """
    captured = clock.capture(calls, len(calls))
    estimate = clock.sample(captured)
    if estimate < SLOW_US:
        estimate = statistics.median(clock.sample(captured) for _ in range(5))
    launches = clock.launches(estimate, len(calls))
    return PreparedCalls(calls, captured if launches == len(calls) else clock.capture(calls, launches), launches)


@dataclass(frozen=True)
class InterleavedSamples:
    """Samples of each contestant, one per round, and the conditions of the device.

    Attributes:
        out: contestants that found no memory, and have no samples; by name, with the reason.
    """

    samples: dict[str, list[float]]
    conditions: Conditions
    out: dict[str, str] = field(default_factory=dict)


def interleave(
    clock: Clock,
    contestants: Mapping[str, PreparedCalls],
    rounds: int,
    seed: int = 0,
    *,
    warmup: int = 2,
    budget_s: float | None = None,
    spare_s: float = 0.0,
    compared: Sequence[str] = (),
    monitor: DeviceMonitor | None = None,
    optional: Collection[str] = (),
) -> InterleavedSamples:
    """Takes one sample of each contestant per round, in a random order that changes every round.

    A throttled round is discarded and repeated; at most `rounds` are discarded. If the first `THROTTLED_STREAK` rounds
    are all throttled, the device cannot run these kernels otherwise (a large kernel keeps a GPU at its power limit).
    From then on, throttled rounds count.

    Args:
        rounds: requested rounds.
        warmup: rounds that are not recorded; they take at most a tenth of the budget.
        budget_s: seconds after which no further round begins, once `MIN_ROUNDS` are recorded.
        spare_s: seconds in which extra rounds may begin, up to `MAX_ROUNDS_FACTOR` times the requested ones, while the
            comparison is not settled.
        compared: the contestants whose comparison must be settled; see `are_settled`.
        monitor: reads the state of the device before and after each round.
        optional: contestants that are out when they find no memory; of others that is an error.
    """
    order = list(contestants)
    rng = random.Random(seed)
    earlier = clock.disturbances
    samples: dict[str, list[float]] = {name: [] for name in order}
    budget = budget_s if budget_s is not None else math.inf
    start = time.monotonic()
    states: list[DeviceState] = []
    done = thrown_away = held_back = 0
    number = -warmup
    out: dict[str, str] = {}
    while done < rounds or (done < MAX_ROUNDS_FACTOR * rounds and time.monotonic() - start < spare_s):
        if done >= rounds and done % rounds == 0 and are_settled({name: samples[name] for name in compared}):
            break
        spent = time.monotonic() - start
        if done >= MIN_ROUNDS and spent > budget:
            break
        number += 1
        if number <= 0 and spent > budget / 10:
            continue
        before = monitor.read() if monitor is not None else None
        rng.shuffle(order)
        values = {}
        for name in tuple(order):
            try:
                contestants[name].calls[0]()
                values[name] = clock.sample(contestants[name].captured)
            except RuntimeError as error:
                if name not in optional or type(error).__name__ != OUT_OF_MEMORY:
                    raise
                out[name] = str(error).splitlines()[0]
                order.remove(name)
                del samples[name]
        after = monitor.read() if monitor is not None else None
        if number <= 0:
            continue
        is_always_throttled = thrown_away >= THROTTLED_STREAK and done == held_back
        if was_throttled(before, after):
            if thrown_away < rounds and not is_always_throttled:
                thrown_away += 1
                continue
            held_back += 1
        done += 1
        states += [after] if after is not None else []
        for name, value in values.items():
            if name not in out:
                samples[name].append(value)
    disturbances = clock.disturbances.since(earlier)
    conditions = summary(states, thrown_away, held_back).model_copy(
        update={"samples": disturbances.samples, "retaken": disturbances.retakes, "disturbed": disturbances.kept}
    )
    return InterleavedSamples(samples, conditions, out)
