"""What a search takes of the machine while it runs: memory and open files of driver and workers, memory of the GPUs."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from evoflash.search import Search
from evoflash.targets import Target

INTERVAL_S = 0.25
QUARTERS = 4
LIFE = 60  # candidates that a worker must have lived for, so that its growth says something
MIB = 1024**2


@dataclass(frozen=True)
class Worker:
    """The worker of a device at one look.

    Attributes:
        device: number of the device.
        process: its process id.
        bytes, files: its memory and open files.
        device_bytes: memory in use on the GPU, by all processes, beyond that before the search; None on a CPU.
    """

    device: int
    process: int
    bytes: int
    files: int
    device_bytes: int | None = None


@dataclass(frozen=True)
class Sample:
    """One look.

    Attributes:
        candidates: results on record by then.
        zombies: children of the driver that have ended and were not waited for.
        workers: one for each device, except before its first answer.
    """

    seconds: float
    candidates: int
    driver_bytes: int
    driver_files: int
    zombies: int
    workers: tuple[Worker, ...] = ()


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


def vitals(devices: Sequence[int]) -> list[Vital]:
    """What must stay flat of a search over these devices, which are named if there are several."""
    found = [  # the driver keeps the genome, the result and the times of each candidate
        Vital("driver", "MiB", lambda each: each.driver_bytes / MIB, 0.02, 4, 8 / 1024),
        Vital("driver's open files", "", lambda each: each.driver_files, 0.05, 3),
        Vital("zombies", "", lambda each: each.zombies, 0, 0),
    ]
    for device in devices:
        where = f" of GPU {device}" if len(devices) > 1 else ""
        found += [
            Vital(f"worker{where}", "MiB", _of(device, lambda each: each.bytes / MIB), 0.02, 4),
            Vital(f"open files of the worker{where}", "", _of(device, lambda each: each.files), 0.05, 3),
            Vital(f"GPU {device}" if where else "GPU", "MiB", _of(device, _device_mib), 0.02, 4),
        ]
    return found


def _of(device: int, value: Callable[[Worker], float | None]) -> Callable[[Sample], float | None]:
    """A value of the worker of a device."""
    return lambda sample: next((value(each) for each in sample.workers if each.device == device), None)


def _device_mib(worker: Worker) -> float | None:
    return None if worker.device_bytes is None else worker.device_bytes / MIB


CRITERION = (
    "flat: the median of the last quarter is above that of the second by no more than 2 % or 4 MiB of memory, 5 % or 3 "
    "open files, no zombie; the driver's by 8 KiB a candidate more, for what it keeps of each"
)


class Watch:
    """Looks at the processes of a search in a thread of its own, within a `with` block.

    Attributes:
        candidates: the results so far, which the caller counts.
    """

    def __init__(self, search: Search, targets: Sequence[Target]):
        self.candidates = 0
        self.samples: list[Sample] = []
        self._search = search
        self._memory = {each.number: device_memory(each) for each in targets if each.name == "cuda"}
        self._before = {device: memory() for device, memory in self._memory.items()}
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

    def device_bytes(self, device: int) -> int | None:
        """Memory in use on a GPU beyond that before the search."""
        return self._memory[device]() - self._before[device] if device in self._memory else None

    def left_mib(self) -> float | None:
        """What the GPUs have in use now beyond that before the search, all together."""
        return sum(self._memory[each]() - self._before[each] for each in self._memory) / MIB if self._memory else None

    def _look_on(self) -> None:
        while not self._is_over.wait(INTERVAL_S):
            self.samples.append(self._look())

    def _look(self) -> Sample:
        return Sample(
            seconds=round(time.monotonic() - self._start, 2),
            candidates=self.candidates,
            driver_bytes=self._driver.memory_info().rss,
            driver_files=self._driver.num_fds(),
            zombies=zombies(),
            workers=tuple(self._workers()),
        )

    def _workers(self) -> Iterator[Worker]:
        for examiner in self._search.scheduler.examiners:
            device = examiner.target.number
            for each in examiner.evaluators:
                (evaluator,) = each.shapes.values()
                sandbox = evaluator._sandbox
                process = sandbox._process
                if process is None or not sandbox._served:
                    continue
                try:
                    worker = psutil.Process(process.pid)
                    memory, files = worker.memory_info().rss, worker.num_fds()
                except psutil.Error:  # it has ended, or is being killed
                    continue
                yield Worker(device, process.pid, memory, files, self.device_bytes(device))


def device_memory(target: Target) -> Callable[[], int]:
    """What asks for the bytes in use on a GPU."""
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(target.uuid) if target.uuid else pynvml.nvmlDeviceGetHandleByIndex(0)
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
    devices = sorted({worker.device for each in samples for worker in each.workers})
    for vital in vitals(devices):
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
    lives: dict[int, list[tuple[int, int]]] = defaultdict(list)  # of each process: candidates so far, bytes
    for sample in samples:
        for worker in sample.workers:
            lives[worker.process].append((sample.candidates, worker.bytes))
    growths = [slope(*zip(*life, strict=True)) for life in lives.values() if life[-1][0] - life[0][0] >= LIFE]
    return statistics.median(growths) / 1024 if growths else None


def slope(places: Sequence[float], values: Sequence[float]) -> float:
    """The least-squares slope of values; 0 where all are at one place."""
    return statistics.linear_regression(places, values).slope if len(set(places)) > 1 else 0.0


def series(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Samples for JSON, at most about 600 of them."""
    return [asdict(each) for each in samples[:: max(1, len(samples) // 600)]]
