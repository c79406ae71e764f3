"""Clocks of the devices: they capture launches for repetition and time one repetition.

On CUDA a clock replays a CUDA graph between two events; on a CPU it times an inner loop by a monotonic clock, and takes
a sample again during which other programs had the cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from evoflash.worker.core_waits import CoreWaits
from evoflash.worker.graphs import nodes_captured

if TYPE_CHECKING:
    import torch

Call = Callable[[], Any]

KEPT_BYTES = 4 << 30  # unused memory that PyTorch's allocator may keep while a graph is captured


@dataclass(frozen=True)
class Disturbances:
    """How often other programs disturbed the samples of a clock.

    Attributes:
        samples: all of which it is known.
        retakes: further tries, of samples that were disturbed.
        kept: samples that were disturbed in every try.
    """

    samples: int = 0
    retakes: int = 0
    kept: int = 0

    def plus(self, retakes: int, is_disturbed: bool) -> Disturbances:
        """One sample more."""
        return Disturbances(self.samples + 1, self.retakes + retakes, self.kept + is_disturbed)

    def since(self, before: Disturbances) -> Disturbances:
        """Those of the samples after `before`."""
        return Disturbances(self.samples - before.samples, self.retakes - before.retakes, self.kept - before.kept)

    def counts(self) -> dict[str, int]:
        """The fields of `Conditions` that have them."""
        return {"samples": self.samples, "retaken": self.retakes, "disturbed": self.kept}


class Clock(Protocol):
    """Captures calls for repetition, and times them.

    Attributes:
        max_sampling_s: seconds after which sampling stops, once there are `timing.MIN_SAMPLES` samples.
        disturbances: of the samples so far, as far as they are known.
    """

    max_sampling_s: float
    disturbances: Disturbances

    def capture(self, calls: Sequence[Call], launches: int) -> Any:
        """Captures this many launches, cycling through the calls, for replay."""
        ...

    def sample(self, captured: Any, before: Call | None = None) -> float:
        """Replays once; returns microseconds per launch.

        Args:
            before: is called before the launches, and is not in the time.
        """
        ...

    def is_complete(self, captured: Any) -> bool:
        """Whether every launch was captured, each with as many graph nodes as the first."""
        ...

    def launches(self, estimate_us: float, calls: int) -> int:
        """The number of launches per sample, given an estimate of one launch and the number of calls."""
        ...


class CpuClock:
    """Times an inner loop of at least `TARGET_US` with `time.perf_counter_ns`.

    A sample is disturbed when the threads waited for a core in it, since launches that lose a core to another program
    take up to a hundred times as long. It is taken again after a nap, for then Linux's scheduler lets the threads run
    for a while. On two cores with two busy loops, two of five such samples are undisturbed if they take no longer than
    that, about 3 ms, and their median is that of a quiet machine.

    Attributes:
        disturbances: of the samples so far.
    """

    TARGET_US = 2000.0
    MOST_US = 40_000.0  # of a sample: on a machine that has become busy, launches take a thousand times as long
    CHUNK = 32  # launches between two looks at the time
    WAIT_SHARE = 0.04  # of a sample's time: waiting that disturbs it
    NAPS_S = (0.004, 0.016, 0.016, 0.016, 0.032, 0.032, 0.032, 0.032)  # before the second try of a sample, the third …
    FEWEST_NAPS = 2
    PATIENCE_US = 250_000.0  # of all tries of a sample: long launches are disturbed in any case
    WAKING_US = 500.0  # threads are woken before a try by a launch, unless that takes longer and uses up their time
    max_sampling_s = 1.0

    def __init__(self) -> None:
        self.disturbances = Disturbances()
        self._waits = CoreWaits()
        self._naps = len(self.NAPS_S)  # of the next sample, at most

    def capture(self, calls: Sequence[Call], launches: int) -> list[Call]:
        """A list of the calls, cycled."""
        return [calls[number % len(calls)] for number in range(launches)]

    def sample(self, captured: list[Call], before: Call | None = None) -> float:
        """Microseconds per launch; of several tries the first undisturbed one, else the least disturbed.

        Args:
            before: is called before each try, and is not in the time.
        """
        time_us, waiting = self._try(captured, before)
        if waiting is None:
            return time_us
        retakes = 0
        spent_us = 0.0
        while waiting > self.WAIT_SHARE and retakes < self._naps and spent_us < self.PATIENCE_US:
            time.sleep(self.NAPS_S[retakes])
            if time_us < self.WAKING_US:
                captured[0]()
            again_us, waiting_again = self._try(captured, before)
            retakes += 1
            spent_us += again_us * len(captured)
            if waiting_again is not None and waiting_again < waiting:
                time_us, waiting = again_us, waiting_again
        is_disturbed = waiting > self.WAIT_SHARE
        # Where tries are in vain, the next samples have fewer.
        self._naps = max(self.FEWEST_NAPS, self._naps // 2) if is_disturbed else len(self.NAPS_S)
        self.disturbances = self.disturbances.plus(retakes, is_disturbed)
        return time_us

    def _try(self, captured: list[Call], before: Call | None) -> tuple[float, float | None]:
        """Microseconds per launch, and the share of the time in which threads waited; None where it is not known.

        What takes too long ends after a chunk of its launches.
        """
        if before is not None:
            before()
        done, elapsed_us = 0, 0.0
        waited_us = self._waits.read_us()
        start = time.perf_counter_ns()
        while done < len(captured) and elapsed_us <= self.MOST_US:
            chunk = captured[done : done + self.CHUNK]
            for call in chunk:
                call()
            done += len(chunk)
            elapsed_us = (time.perf_counter_ns() - start) / 1e3
        waited_after_us = self._waits.read_us()
        if waited_us is None or waited_after_us is None:
            return elapsed_us / done, None
        return elapsed_us / done, (waited_after_us - waited_us) / elapsed_us

    def is_complete(self, captured: list[Call]) -> bool:
        """Always true: nothing is captured, a sample makes the calls themselves."""
        return True

    def launches(self, estimate_us: float, calls: int) -> int:
        """At least one launch, and about `TARGET_US` in total."""
        return max(1, round(self.TARGET_US / max(estimate_us, 0.1)))


@dataclass(frozen=True)
class CapturedGraph:
    """A CUDA graph of launches, with the node counts after the first and after the last launch."""

    graph: torch.cuda.CUDAGraph
    launches: int
    first_nodes: int
    nodes: int


class CudaClock:
    """Times replays of a CUDA graph between two events, since a launch from Python takes longer than a short kernel."""

    TARGET_US = 200.0
    max_sampling_s = 0.2

    def __init__(self) -> None:
        import torch

        self.disturbances = Disturbances()  # a race learns of them from `OtherProcesses`, long after the sample
        self._start = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)
        self._stream = torch.cuda.Stream()

    def capture(self, calls: Sequence[Call], launches: int) -> CapturedGraph:
        """Captures a graph of the calls, cycled."""
        import torch

        for call in calls:  # loads modules and allocates workspaces, which is not allowed during capture
            call()
        torch.cuda.synchronize()
        # A capture cannot use the allocator's free memory of eager calls.
        if torch.cuda.memory_reserved() - torch.cuda.memory_allocated() > KEPT_BYTES:
            torch.cuda.empty_cache()
        graph, stream = torch.cuda.CUDAGraph(), self._stream.cuda_stream
        first_nodes = nodes = 0
        # torch.cuda.graph() would always empty the allocator's cache first, which takes milliseconds.
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

    def sample(self, captured: CapturedGraph, before: Call | None = None) -> float:
        """Microseconds per launch.

        Args:
            before: is called before the launches, on the same stream, and is not in the time.
        """
        if before is not None:
            before()
        self._start.record()
        captured.graph.replay()
        self._end.record()
        self._end.synchronize()
        return self._start.elapsed_time(self._end) * 1e3 / captured.launches

    def is_complete(self, captured: CapturedGraph) -> bool:
        """Whether the graph contains every launch; all write the same output, so the output would not show a gap."""
        return captured.first_nodes > 0 and captured.nodes == captured.launches * captured.first_nodes

    def launches(self, estimate_us: float, calls: int) -> int:
        """A multiple of the number of calls, about `TARGET_US` in total, so that all input sets have equal weight."""
        turns = max(1, round(self.TARGET_US / max(estimate_us, 0.1) / calls))
        return turns * calls


def make_clock(device: str) -> Clock:
    """The clock of "cuda" or "cpu"."""
    return CudaClock() if device == "cuda" else CpuClock()
