"""Who does the work: builders run wide, the device examines one candidate at a time.

Where builds and timings share the cores they take turns: all builds that wait, then all examinations that wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from evoflash.core.record import Record

Result = TypeVar("Result")


@dataclass
class Meter:
    """Seconds that a pool was at work, summed over its places."""

    places: int
    busy_s: float = 0.0


class Throughput(Record):
    """How fast candidates went through, and the share of the time in which each was at work.

    The slowest resource is what bounds a search: the builders or the device; on a CPU the cores that both share.
    """

    candidates_a_minute: float
    builders_busy: float
    device_busy: float
    slowest_busy: float
    driver_busy: float

    def __str__(self) -> str:
        return (
            f"{self.candidates_a_minute:.0f} candidates a minute; busy: slowest resource {self.slowest_busy:.0%} "
            f"(builders {self.builders_busy:.0%}, device {self.device_busy:.0%}), driver {self.driver_busy:.1%}"
        )


class WorkerPools:
    """The two places where candidates spend their time.

    Args:
        builders: builds at once.
        take_turns: never build while the device examines.
    """

    def __init__(self, builders: int, *, take_turns: bool):
        self.builders = Meter(builders)
        self.device = Meter(1)
        self.take_turns = take_turns
        self._pools = {"build": ThreadPoolExecutor(builders, "build"), "examine": ThreadPoolExecutor(1, "examine")}
        self._meters = {"build": self.builders, "examine": self.device}
        self._change = threading.Condition()
        self._waiting = {"build": 0, "examine": 0}
        self._working = {"build": 0, "examine": 0}
        self._turn = "build"
        self._dropped = False

    def build(self, job: Callable[[], Result]) -> Future[Result]:
        """Runs a job on a builder."""
        return self._submit("build", job)

    def examine(self, job: Callable[[], Result]) -> Future[Result]:
        """Runs a job on the device."""
        return self._submit("examine", job)

    def throughput(self, candidates: int, wall_s: float, driver_s: float) -> Throughput:
        """How fast candidates went through in this time, of which the driver was at work itself for `driver_s`."""
        wall_s = max(wall_s, 1e-9)
        builders = self.builders.busy_s / (self.builders.places * wall_s)
        device = self.device.busy_s / wall_s
        return Throughput(
            candidates_a_minute=60 * candidates / wall_s,
            builders_busy=builders,
            device_busy=device,
            slowest_busy=builders + device if self.take_turns else max(builders, device),
            driver_busy=driver_s / wall_s,
        )

    def drop(self) -> None:
        """Cancels what waits, without waiting for what runs; whoever owns that ends it."""
        with self._change:
            self._dropped = True
            self._change.notify_all()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Waits until nothing runs any more."""
        self.drop()
        for pool in self._pools.values():
            pool.shutdown(wait=True)

    def _submit(self, pool: str, job: Callable[[], Result]) -> Future[Result]:
        with self._change:
            self._waiting[pool] += 1
        return self._pools[pool].submit(self._run, pool, job)

    def _run(self, pool: str, job: Callable[[], Result]) -> Result:
        other = "examine" if pool == "build" else "build"
        with self._change:
            self._change.wait_for(lambda: self._dropped or self._may(pool, other))
            self._waiting[pool] -= 1
            if self._dropped:
                raise CancelledError
            self._working[pool] += 1
            self._turn = pool
        start = time.monotonic()
        try:
            return job()
        finally:
            with self._change:
                self._meters[pool].busy_s += time.monotonic() - start
                self._working[pool] -= 1
                self._change.notify_all()

    def _may(self, pool: str, other: str) -> bool:
        if not self.take_turns:
            return True
        return self._working[other] == 0 and (self._turn == pool or self._waiting[other] == 0)
