"""How fast is it? Samples of many launches over rotating inputs.

On CUDA a sample is the replay of a graph between two events, on a CPU an inner loop by a monotonic clock.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from evoflash.evaluation import Conditions, Contestant, Ratio, Timing
from evoflash.evaluator.conditions import Gauge, Look, summary, was_held_back
from evoflash.evaluator.graphs import nodes_captured

if TYPE_CHECKING:
    import torch

Call = Callable[[], Any]

WARMUP_LAUNCHES = 20
GIVE_UP_RATIO = 3.0  # a candidate this far behind the best is not timed in full
BOOTSTRAPS = 2000
FEWEST_SAMPLES = 20  # of a timing in which each takes long
FEWEST_ROUNDS = 3  # of a race that runs out of time
MOST_ROUNDS = 15  # times the rounds that were wanted, while there is time to spare
ALWAYS = 5  # rounds from the first on in which a device was held back, and then is so always
SLOW_US = 1e5  # a launch this long is measured well enough by one look
KEPT_BYTES = 4 << 30  # free memory that PyTorch may keep while a graph is captured


class Clock(Protocol):
    """Turns calls into something repeatable and measures it.

    Attributes:
        enough_s: seconds of samples after which no more are needed than `FEWEST_SAMPLES`: launches of milliseconds
            differ by little, and a search has other candidates to time.
    """

    enough_s: float

    def capture(self, calls: Sequence[Call], launches: int) -> Any:
        """This many launches, taking the calls in turn, ready to be replayed."""
        ...

    def sample(self, captured: Any) -> float:
        """Microseconds a launch over one replay."""
        ...

    def is_whole(self, captured: Any) -> bool:
        """Whether every launch has been captured, and has left as much as the first."""
        ...

    def launches(self, estimate_us: float, calls: int) -> int:
        """How many launches make a sample long enough to be measured."""
        ...


class CpuClock:
    """perf_counter around an inner loop of at least `TARGET_US`."""

    TARGET_US = 2000.0
    enough_s = 1.0

    def capture(self, calls: Sequence[Call], launches: int) -> list[Call]:
        """The calls in turn."""
        return [calls[number % len(calls)] for number in range(launches)]

    def sample(self, captured: list[Call]) -> float:
        """Microseconds a launch."""
        start = time.perf_counter_ns()
        for call in captured:
            call()
        return (time.perf_counter_ns() - start) / 1e3 / len(captured)

    def is_whole(self, captured: list[Call]) -> bool:
        """Always: the calls themselves are made when a sample is taken."""
        return True

    def launches(self, estimate_us: float, calls: int) -> int:
        """At least one, and `TARGET_US` of them."""
        return max(1, round(self.TARGET_US / max(estimate_us, 0.1)))


@dataclass(frozen=True)
class CapturedGraph:
    """A graph of so many launches, and how many nodes the first and all of them have left in it."""

    graph: torch.cuda.CUDAGraph
    launches: int
    first_nodes: int
    nodes: int


class CudaClock:
    """Replays of a CUDA graph between two events: a launch from Python costs more than a kernel."""

    TARGET_US = 200.0
    enough_s = 0.2

    def __init__(self) -> None:
        import torch

        self._start = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)
        self._stream = torch.cuda.Stream()

    def capture(self, calls: Sequence[Call], launches: int) -> CapturedGraph:
        """A graph of the calls in turn."""
        import torch

        for call in calls:  # load modules and allocate workspaces before the capture forbids it
            call()
        torch.cuda.synchronize()
        # A capture cannot take over memory that is free but kept for calls outside of graphs.
        if torch.cuda.memory_reserved() - torch.cuda.memory_allocated() > KEPT_BYTES:
            torch.cuda.empty_cache()
        graph, stream = torch.cuda.CUDAGraph(), self._stream.cuda_stream
        first_nodes = nodes = 0
        # Not torch.cuda.graph(): that always empties the allocator's cache first, which takes milliseconds.
        with torch.cuda.stream(self._stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                for number in range(launches):
                    calls[number % len(calls)]()
                    if number == 0:
                        first_nodes = nodes_captured(stream)
                nodes = nodes_captured(stream)
            finally:
                graph.capture_end()
        return CapturedGraph(graph, launches, first_nodes, nodes)

    def sample(self, captured: CapturedGraph) -> float:
        """Microseconds a launch."""
        self._start.record()
        captured.graph.replay()
        self._end.record()
        self._end.synchronize()
        return self._start.elapsed_time(self._end) * 1e3 / captured.launches

    def is_whole(self, captured: CapturedGraph) -> bool:
        """Whether the graph holds every launch: all write the same output, so what is left out would not show in it."""
        return captured.first_nodes > 0 and captured.nodes == captured.launches * captured.first_nodes

    def launches(self, estimate_us: float, calls: int) -> int:
        """Whole turns of the calls, `TARGET_US` of them, so that each input set counts alike."""
        turns = max(1, round(self.TARGET_US / max(estimate_us, 0.1) / calls))
        return turns * calls


def clock(device: str) -> Clock:
    """The clock of "cuda" or "cpu"."""
    return CudaClock() if device == "cuda" else CpuClock()


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
    gauge: Gauge | None = None,
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
        gauge: looks at the device before and after each round.
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
        before = gauge.look() if gauge is not None else None
        rng.shuffle(order)
        values = {}
        for name in order:
            contestants[name].calls[0]()
            values[name] = watch.sample(contestants[name].captured)
        after = gauge.look() if gauge is not None else None
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


def contestant(name: str, samples: Sequence[float]) -> Contestant:
    """Percentiles of a contestant's samples."""
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return Contestant(name=name, p50_us=p50, p90_us=p90, p99_us=p99, samples=tuple(samples))


def paired_ratio(slower: Sequence[float], faster: Sequence[float]) -> Ratio:
    """The median over rounds of slower / faster, with a 95 % bootstrap interval (percentile method)."""
    ratios = np.asarray(slower) / np.asarray(faster)
    draws = np.random.default_rng(0).choice(ratios, size=(BOOTSTRAPS, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), (2.5, 97.5))
    return Ratio(value=float(np.median(ratios)), low=float(low), high=float(high))


def are_settled(samples: Mapping[str, Sequence[float]]) -> bool:
    """Whether each is told from the fastest, or known not to differ from it."""
    if len(samples) < 2:
        return True
    fastest = min(samples, key=lambda name: statistics.median(samples[name]))
    return all(paired_ratio(values, samples[fastest]).is_settled for name, values in samples.items() if name != fastest)


def _timing(regime: str, samples: Sequence[float], launches: int) -> Timing:
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return Timing(regime=regime, p50_us=p50, p90_us=p90, p99_us=p99, launches=launches, samples=tuple(samples))
