"""What a device's time is read from: launches that can be repeated, and how long a repetition takes.

On CUDA it is the replay of a graph between two events, on a CPU an inner loop by a monotonic clock.
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
