"""Clocks of the devices: they capture launches for repetition and time one repetition.

On CUDA a clock replays a CUDA graph between two events; on a CPU it times an inner loop by a monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from evoflash.worker.graphs import nodes_captured

if TYPE_CHECKING:
    import torch

Call = Callable[[], Any]

KEPT_BYTES = 4 << 30  # unused memory that PyTorch's allocator may keep while a graph is captured


class Clock(Protocol):
    """Captures calls for repetition, and times them.

    Attributes:
        max_sampling_s: seconds after which sampling stops, once there are `timing.MIN_SAMPLES` samples.
    """

    max_sampling_s: float

    def capture(self, calls: Sequence[Call], launches: int) -> Any:
        """Captures this many launches, cycling through the calls, for replay."""
        ...

    def sample(self, captured: Any) -> float:
        """Replays once; returns microseconds per launch."""
        ...

    def is_complete(self, captured: Any) -> bool:
        """Whether every launch was captured, each with as many graph nodes as the first."""
        ...

    def launches(self, estimate_us: float, calls: int) -> int:
        """The number of launches per sample, given an estimate of one launch and the number of calls."""
        ...


class CpuClock:
    """Times an inner loop of at least `TARGET_US` with `time.perf_counter_ns`."""

    TARGET_US = 2000.0
    MOST_US = 40_000.0  # of a sample: on a machine that has become busy, launches take a thousand times as long
    CHUNK = 32  # launches between two looks at the time
    max_sampling_s = 1.0

    def capture(self, calls: Sequence[Call], launches: int) -> list[Call]:
        """A list of the calls, cycled."""
        return [calls[number % len(calls)] for number in range(launches)]

    def sample(self, captured: list[Call]) -> float:
        """Microseconds per launch. A sample that takes too long ends after a chunk of its launches."""
        done, elapsed_us = 0, 0.0
        start = time.perf_counter_ns()
        while done < len(captured) and elapsed_us <= self.MOST_US:
            chunk = captured[done : done + self.CHUNK]
            for call in chunk:
                call()
            done += len(chunk)
            elapsed_us = (time.perf_counter_ns() - start) / 1e3
        return elapsed_us / done

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

    def sample(self, captured: CapturedGraph) -> float:
        """Microseconds per launch."""
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
