"""Under what conditions a round was timed: clock, temperature, and whether the device was held back meanwhile."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evoflash.core.finals import Conditions

# What lowers clocks for a reason that is not the kernel's: NVML's nvmlClocksEventReason constants.
POWER_CAP, HW_SLOWDOWN, SW_THERMAL, HW_THERMAL, POWER_BRAKE = 0x4, 0x8, 0x20, 0x40, 0x80
HELD_BACK = POWER_CAP | HW_SLOWDOWN | SW_THERMAL | HW_THERMAL | POWER_BRAKE


@dataclass(frozen=True)
class Look:
    """One look at the device; None where it does not tell. `throttles` counts what has held it back so far."""

    clock_mhz: float | None = None
    temperature_c: float | None = None
    held_back: bool = False
    throttles: int = 0


class DeviceMonitor(Protocol):
    """Looks at a device; takes microseconds."""

    def look(self) -> Look:
        """Now."""
        ...


class CpuGauge:
    """The cores' mean clock and Linux's counters of thermal throttling; a virtual machine may tell neither."""

    def __init__(self) -> None:
        base = Path("/sys/devices/system/cpu")
        self._clocks = sorted(base.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        self._throttles = sorted(base.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))

    def look(self) -> Look:
        """Now."""
        clocks = [float(value) / 1e3 for path in self._clocks if (value := _read(path))]
        throttles = sum(int(value) for path in self._throttles if (value := _read(path)))
        return Look(statistics.fmean(clocks) if clocks else None, None, False, throttles)


class CudaGauge:
    """NVML's clock of the multiprocessors, temperature and reasons for a lower clock."""

    def __init__(self, pynvml: Any, handle: Any):
        self._nvml = pynvml
        self._handle = handle

    def look(self) -> Look:
        """Now; what the driver does not tell is None."""
        nvml = self._nvml

        def ask(function: Any, *arguments: Any) -> Any:
            try:
                return function(self._handle, *arguments)
            except nvml.NVMLError:
                return None

        reasons = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons) or 0
        return Look(
            ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
            ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
            bool(reasons & HELD_BACK),
        )


def monitor(device: str) -> DeviceMonitor | None:
    """The monitor of "cuda" or "cpu"; None where the driver has no NVML."""
    if device != "cuda":
        return CpuGauge()
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        return CudaGauge(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
    except (pynvml.NVMLError, AttributeError):
        return None


def was_held_back(before: Look | None, after: Look | None) -> bool:
    """Whether the device was held back between two looks."""
    if before is None or after is None:
        return False
    return before.held_back or after.held_back or after.throttles > before.throttles


def summary(looks: Sequence[Look], thrown_away: int, held_back: int) -> Conditions:
    """Clocks and temperatures over all rounds; how many were thrown away, and how many count though held back."""
    clocks = sorted(look.clock_mhz for look in looks if look.clock_mhz is not None)
    temperatures = [look.temperature_c for look in looks if look.temperature_c is not None]
    return Conditions(
        clock_mhz=(clocks[0], statistics.median(clocks), clocks[-1]) if clocks else None,
        temperature_c=(min(temperatures), max(temperatures)) if temperatures else None,
        thrown_away=thrown_away,
        held_back=held_back,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
