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
from evoflash.worker.device_monitor import DeviceMonitor, was_throttled
from evoflash.worker.other_processes import OtherProcesses
from evoflash.worker.rounds import Round, Rounds
from evoflash.worker.updates import Repetition

MIN_ROUNDS = 3  # recorded even when the budget is exceeded
MAX_ROUNDS_FACTOR = 15  # maximum number of rounds, as a multiple of the requested rounds, while there is spare time
OUT_OF_MEMORY = "OutOfMemoryError"  # PyTorch's, which is not imported here
SLOW_US = 1e5  # for launches this long one sample is a good enough estimate


@dataclass(frozen=True)
class PreparedCalls:
    """A contestant's calls, captured for sampling.

    Attributes:
        calls: one call per input set.
        captured: the launches of one sample, as the clock captured them.
        launches: launches per sample.
        before: is called before each sample, outside of its time.
    """

    calls: Sequence[Call]
    captured: Any
    launches: int
    before: Call | None = None


def prepare(
    clock: Clock, calls: Sequence[Call], before: Call | None = None, repetition: Repetition | None = None
) -> PreparedCalls:
    """Captures calls, with the number of launches per sample chosen by a trial.

    Args:
        before: is called before each sample, outside of its time.
        repetition: limits the launches of a sample, where they update something in place.

    Raises:
        RuntimeError: when the calls fail, or there is too little memory to capture them.
    """
    captured = clock.capture(calls, len(calls))
    estimate = clock.sample(captured, before)
    if estimate < SLOW_US:
        estimate = statistics.median(clock.sample(captured, before) for _ in range(5))
    launches = clock.launches(estimate, len(calls))
    if repetition is not None:
        launches = repetition.launches(launches, len(calls))
    captured = captured if launches == len(calls) else clock.capture(calls, launches)
    return PreparedCalls(calls, captured, launches, before)


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
    others: OtherProcesses | None = None,
    optional: Collection[str] = (),
) -> InterleavedSamples:
    """Takes one sample of each contestant per round, in a random order that changes every round.

    Throttled and disturbed rounds are held again; see `Rounds`. Once `rounds` were disturbed, this is done only in the
    spare seconds.

    Args:
        rounds: requested rounds.
        warmup: rounds that are not recorded; they take at most a tenth of the budget.
        budget_s: seconds after which no further round begins, once `MIN_ROUNDS` are recorded.
        spare_s: seconds in which extra rounds may begin, up to `MAX_ROUNDS_FACTOR` times the requested ones, while the
            comparison is not settled.
        compared: the contestants whose comparison must be settled; see `are_settled`.
        monitor: reads the state of the device before and after each round.
        others: tells in which rounds other processes used the device; None where the clock does, or nothing is known.
        optional: contestants that are out when they find no memory; of others that is an error.
    """
    order = list(contestants)
    rng = random.Random(seed)
    earlier = clock.disturbances
    budget = budget_s if budget_s is not None else math.inf
    start = time.monotonic()
    out: dict[str, str] = {}

    def hold() -> Round:
        """Holds a round; who finds no memory is out."""
        start_s = time.time()
        before = monitor.read() if monitor is not None else None
        rng.shuffle(order)
        values = {}
        for name in tuple(order):
            try:
                contestants[name].calls[0]()
                values[name] = clock.sample(contestants[name].captured, contestants[name].before)
            except RuntimeError as error:
                if name not in optional or type(error).__name__ != OUT_OF_MEMORY:
                    raise
                out[name] = str(error).splitlines()[0]
                order.remove(name)
        after = monitor.read() if monitor is not None else None
        return Round(values, start_s, time.time(), after, was_throttled(before, after))

    def is_wanted() -> bool:
        """Whether another round should be held."""
        spent = time.monotonic() - start
        if len(held) + held.set_aside >= MIN_ROUNDS and spent > budget:
            return False
        if len(held) < rounds:
            return held.set_aside < rounds or spent < spare_s
        if len(held) >= MAX_ROUNDS_FACTOR * rounds or spent >= spare_s:
            return False
        return len(held) % rounds > 0 or not are_settled(held.samples(compared))

    for _ in range(warmup):
        if time.monotonic() - start <= budget / 10:
            hold()
    if others is not None:
        others.restart()
    held = Rounds(rounds, others)
    while order and ((wanted := is_wanted()) or held.is_pending):
        if wanted:
            held.add(hold())
        else:  # NVML may not sample an idle device
            quickest = contestants[held.quickest_pending]
            clock.sample(quickest.captured, quickest.before)
        held.judge()
    samples = held.samples([name for name in contestants if name not in out])
    conditions = held.conditions(len(samples))
    if others is None:
        conditions = conditions.model_copy(update=clock.disturbances.since(earlier).counts())
    return InterleavedSamples(samples, conditions, out)
