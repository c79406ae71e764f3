"""Who does the work: builders run wide, each device examines one candidate at a time.

Where builds and timings share the cores they take turns: all builds that wait, then all examinations that wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from evoflash.run.scheduler import Throughput

Result = TypeVar("Result")


@dataclass
class Meter:
    """Seconds that a pool was at work, summed over its places."""

    places: int
    busy_s: float = 0.0


class WorkerPools:
    """The two places where candidates spend their time.

    Args:
        builders: builds at once.
        devices: examinations at once.
        take_turns: never build while a device examines.
    """

    def __init__(self, builders: int, devices: int, *, take_turns: bool):
        self.builders = Meter(builders)
        self.devices = Meter(devices)
        self.take_turns = take_turns
        self._pools = {
            "build": ThreadPoolExecutor(builders, "build"),
            "examine": ThreadPoolExecutor(devices, "examine"),
        }
        self._meters = {"build": self.builders, "examine": self.devices}
        self._change = threading.Condition()
        self._waiting = {"build": 0, "examine": 0}
        self._working = {"build": 0, "examine": 0}
        self._turn = "build"
        self._dropped = False

    def build(self, job: Callable[[], Result]) -> Future[Result]:
        """Runs a job on a builder."""
        return self._submit("build", job)

    def examine(self, job: Callable[[], Result]) -> Future[Result]:
        """Runs a job on a device."""
        return self._submit("examine", job)

    def throughput(self, candidates: int, wall_s: float, driver_s: float) -> Throughput:
        """How fast candidates went through in this time, of which the driver was at work itself for `driver_s`."""
        wall_s = max(wall_s, 1e-9)
        builders = self.builders.busy_s / (self.builders.places * wall_s)
        device = self.devices.busy_s / (self.devices.places * wall_s)
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
