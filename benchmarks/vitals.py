"""What a search takes of the machine while it runs: memory and open files of driver and worker, memory of the GPU."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from evoflash.search import Search

INTERVAL_S = 0.25
QUARTERS = 4
LIFE = 60  # candidates that a worker must have lived for, so that its growth says something
MIB = 1024**2


@dataclass(frozen=True)
class Sample:
    """One look. Of the worker there is nothing before its first answer, and of the GPU nothing on a CPU.

    Attributes:
        candidates: results on record by then.
        worker: its process id.
        device_bytes: memory in use on the GPU, by all processes, beyond that before the search.
        zombies: children of the driver that have ended and were not waited for.
    """

    seconds: float
    candidates: int
    driver_bytes: int
    driver_files: int
    zombies: int
    worker: int | None = None
    worker_bytes: int | None = None
    worker_files: int | None = None
    device_bytes: int | None = None


@dataclass(frozen=True)
class Vital:
    """A quantity that must stay flat.

    Attributes:
        share, slack: how much the median of the last quarter may exceed that of the second: by a share of it or by an
            amount in `unit`, whichever is more.
        slack_a_candidate: in `unit`, for each candidate between the middles of both quarters.
    """

    name: str
    unit: str
    of: Callable[[Sample], float | None]
    share: float
    slack: float
    slack_a_candidate: float = 0.0


def _mib(count: int | None) -> float | None:
    return None if count is None else count / MIB


VITALS = (
    # The driver keeps the genome, the result and the times of each candidate.
    Vital("driver", "MiB", lambda each: _mib(each.driver_bytes), 0.02, 4, 8 / 1024),
    Vital("worker", "MiB", lambda each: _mib(each.worker_bytes), 0.02, 4),
    Vital("GPU", "MiB", lambda each: _mib(each.device_bytes), 0.02, 4),
    Vital("driver's open files", "", lambda each: each.driver_files, 0.05, 3),
    Vital("worker's open files", "", lambda each: each.worker_files, 0.05, 3),
    Vital("zombies", "", lambda each: each.zombies, 0, 0),
)
CRITERION = (
    "flat: the median of the last quarter is above that of the second by no more than 2 % or 4 MiB of memory, 5 % or 3 "
    "open files, no zombie; the driver's by 8 KiB a candidate more, for what it keeps of each"
)


class Watch:
    """Looks at the processes of a search in a thread of its own, within a `with` block.

    Attributes:
        candidates: the results so far, which the caller counts.
    """

    def __init__(self, search: Search, device: str):
        self.candidates = 0
        self.samples: list[Sample] = []
        self._search = search
        self._device_bytes = device_memory() if device == "cuda" else None
        self._before = self._device_bytes() if self._device_bytes is not None else 0
        self._driver = psutil.Process()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._start = time.monotonic()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def device_bytes(self) -> int | None:
        """Memory in use on the GPU beyond that before the search."""
        return None if self._device_bytes is None else self._device_bytes() - self._before

    def _look_on(self) -> None:
        while not self._is_over.wait(INTERVAL_S):
            self.samples.append(self._look())

    def _look(self) -> Sample:
        sample = {
            "seconds": round(time.monotonic() - self._start, 2),
            "candidates": self.candidates,
            "driver_bytes": self._driver.memory_info().rss,
            "driver_files": self._driver.num_fds(),
            "zombies": zombies(),
        }
        for each in self._search.scheduler.examiners[0].evaluators:
            (evaluator,) = each.shapes.values()
            sandbox = evaluator._sandbox
            process = sandbox._process
            if process is None or not sandbox._served:
                continue
            try:
                worker = psutil.Process(process.pid)
                sample |= {"worker_bytes": worker.memory_info().rss, "worker_files": worker.num_fds()}
            except psutil.Error:  # it has ended, or is being killed
                continue
            sample |= {"worker": process.pid, "device_bytes": self.device_bytes()}
        return Sample(**sample)


def device_memory() -> Callable[[], int]:
    """What asks for the bytes in use on the first GPU."""
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    return lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)


def zombies() -> int:
    """Children of this process that have ended and were not waited for."""
    count = 0
    for child in psutil.Process().children():
        try:
            count += child.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:  # waited for meanwhile
            continue
    return count


def quarters(values: Sequence[float]) -> list[float]:
    """The median of each quarter of a run."""
    ends = [round(number * len(values) / QUARTERS) for number in range(QUARTERS + 1)]
    return [statistics.median(values[first:last]) for first, last in itertools.pairwise(ends)]


def judge(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Each quantity by quarters, its growth, what it may grow by, and whether it is flat; empty for too few samples."""
    found = []
    for vital in VITALS:
        seen = [(each.candidates, value) for each in samples if (value := vital.of(each)) is not None]
        if len(seen) < 2 * QUARTERS:
            continue
        candidates, values = zip(*seen, strict=True)
        _, second, _, last = quarters(values)
        _, second_at, _, last_at = quarters(candidates)
        allowed = max(vital.share * second, vital.slack) + vital.slack_a_candidate * (last_at - second_at)
        found.append(
            {
                "name": vital.name,
                "unit": vital.unit,
                "quarters": quarters(values),
                "a_candidate": slope(candidates[len(seen) // 2 :], values[len(seen) // 2 :]),
                "growth": last - second,
                "allowed": allowed,
                "is_flat": last - second <= allowed,
            }
        )
    return found


def within_lives(samples: Sequence[Sample]) -> float | None:
    """KiB by which a worker grows with each candidate while it lives: the median over those that lived for `LIFE`."""
    lives: dict[int, list[Sample]] = defaultdict(list)
    for each in samples:
        if each.worker is not None:
            lives[each.worker].append(each)
    growths = [
        slope([each.candidates for each in life], [each.worker_bytes or 0 for each in life])
        for life in lives.values()
        if life[-1].candidates - life[0].candidates >= LIFE
    ]
    return statistics.median(growths) / 1024 if growths else None


def slope(places: Sequence[float], values: Sequence[float]) -> float:
    """The least-squares slope of values; 0 where all are at one place."""
    return statistics.linear_regression(places, values).slope if len(set(places)) > 1 else 0.0


def series(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Samples for JSON, at most about 600 of them."""
    return [asdict(each) for each in samples[:: max(1, len(samples) // 600)]]
