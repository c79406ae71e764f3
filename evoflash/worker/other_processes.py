"""Other processes' use of the GPU during a race."""

from __future__ import annotations

import contextlib
import enum
import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from evoflash.worker.device_monitor import nvml_device

MOST_USE = 5  # percent of the time in which others may compute: medians stand that much
LOOK_EVERY_S = 0.05  # NVML has a new sample every 1/6 s to 1 s
LATEST_S = 2.0  # after a moment, until there is a sample of it


class Use(enum.Enum):
    """What is known of other processes' use of the GPU in a span of time."""

    NONE = enum.auto()
    SOME = enum.auto()
    NOT_YET_KNOWN = enum.auto()
    NOT_KNOWN = enum.auto()


@dataclass(frozen=True)
class _Stretch:
    """The time between two samples of NVML, and the percentage of it in which other processes computed."""

    start_us: int
    end_us: int
    others: int


class OtherProcesses:
    """Tells in which spans of time other processes computed on a GPU, by NVML's samples of each process.

    The samples come late, so the use in a span is known up to `LATEST_S` after it. Drivers may not tell (MIG, vGPU,
    WSL, missing permission); then nothing is known.

    Attributes:
        names: of the other processes seen since the last restart, with their ids, as far as the driver knows them.
    """

    def __init__(self, pynvml: Any, handle: Any) -> None:
        self._nvml = pynvml
        self._handle = handle
        self._is_told = True  # whether the driver tells
        self._has_told = False
        self._is_own_id_seen = False
        self.restart()

    def restart(self) -> None:
        """Forgets what was before this moment."""
        self._seen_us = int(time.time() * 1e6)
        self._looked_s = -math.inf
        self._stretches: list[_Stretch] = []
        self.names: set[str] = set()

    def use(self, start_s: float, end_s: float) -> Use:
        """The use between two moments since the last restart, in seconds of `time.time`."""
        self._look()
        start_us, end_us = start_s * 1e6, end_s * 1e6
        for stretch in reversed(self._stretches):
            if stretch.end_us <= start_us:
                break
            if stretch.start_us < end_us and stretch.others > MOST_USE:
                return Use.SOME
        if self._seen_us >= end_us:
            return Use.NONE
        if time.time() - end_s > LATEST_S:
            self._is_told = self._has_told  # a driver that has told nothing so far is not waited for again
            return Use.NOT_KNOWN
        return Use.NOT_YET_KNOWN if self._is_told else Use.NOT_KNOWN

    def _look(self) -> None:
        """Asks for the samples since the last ones."""
        if not self._is_told or time.monotonic() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        nvml = self._nvml
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(self._handle, self._seen_us)
        except nvml.NVMLError as error:
            # Without new samples an answer is an error, even "success"; they may also become more than was asked for.
            nothing_new = (nvml.NVML_SUCCESS, nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INSUFFICIENT_SIZE)
            self._is_told = error.value in nothing_new
            return
        percent: dict[int, int] = {}
        latest_us = self._seen_us
        for sample in samples:
            if sample.timeStamp > self._seen_us and sample.smUtil <= 100:  # drivers also give empty and wrong samples
                percent[sample.pid] = max(sample.smUtil, percent.get(sample.pid, 0))
                latest_us = max(sample.timeStamp, latest_us)
        if latest_us == self._seen_us:
            return
        self._has_told = True
        others = self._others(percent)
        self._stretches.append(_Stretch(self._seen_us, latest_us, others))
        self._seen_us = latest_us
        if others > MOST_USE:
            self._add_names(percent)

    def _others(self, percent: Mapping[int, int]) -> int:
        """The percentage of time in which processes other than this one computed.

        In a container the samples may have the ids of the host, where this process has another one. Then one of the
        processes is this one. Whichever it is, the others computed at least as long as all without the busiest, or
        the busiest is another and this process the rest.
        """
        self._is_own_id_seen |= os.getpid() in percent
        own = percent.get(os.getpid(), 0) if self._is_own_id_seen else max(percent.values())
        return sum(percent.values()) - own

    def _add_names(self, percent: Iterable[int]) -> None:
        nvml = self._nvml
        ids = set(percent)
        if not self._is_own_id_seen:  # NVML's list of processes, unlike its samples, has the ids of the container
            ids = set()
            with contextlib.suppress(nvml.NVMLError):
                ids = {each.pid for each in nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)}
        for number in ids - {os.getpid()}:
            with contextlib.suppress(nvml.NVMLError):  # it has ended, or is of another container
                command, *_ = nvml.nvmlSystemGetProcessName(number).split() or ["?"]
                self.names.add(f"{PurePath(command).name}, process {number}")


def other_processes(device: str) -> OtherProcesses | None:
    """Those that use the GPU; None on "cpu", where `CpuClock` looks itself, and where the driver has no NVML."""
    found = nvml_device() if device == "cuda" else None
    return OtherProcesses(*found) if found is not None else None
