"""Device conditions during timing: clock, temperature, and throttling."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evoflash.core.finals import Conditions

# Reasons for a lower clock other than an idle device: NVML's nvmlClocksEventReason constants.
POWER_CAP, HW_SLOWDOWN, SW_THERMAL, HW_THERMAL, POWER_BRAKE = 0x4, 0x8, 0x20, 0x40, 0x80
THROTTLE_REASONS = POWER_CAP | HW_SLOWDOWN | SW_THERMAL | HW_THERMAL | POWER_BRAKE


@dataclass(frozen=True)
class DeviceState:
    """The state of a device at one moment; None where it is not known.

    Attributes:
        is_throttled: whether it is throttled at this moment.
        throttle_count: how often it has been throttled so far, on a CPU.
    """

    clock_mhz: float | None = None
    temperature_c: float | None = None
    is_throttled: bool = False
    throttle_count: int = 0


class DeviceMonitor(Protocol):
    """Reads the state of a device; a reading takes microseconds."""

    def read(self) -> DeviceState:
        """The current state."""
        ...


class CpuMonitor:
    """Reads the mean clock of the cores and Linux's counters of thermal throttling, which virtual machines may lack."""

    def __init__(self) -> None:
        base = Path("/sys/devices/system/cpu")
        self._clocks = sorted(base.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        self._throttles = sorted(base.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))

    def read(self) -> DeviceState:
        """The current state."""
        clocks = [float(value) / 1e3 for path in self._clocks if (value := _read(path))]
        throttle_count = sum(int(value) for path in self._throttles if (value := _read(path)))
        return DeviceState(statistics.fmean(clocks) if clocks else None, None, False, throttle_count)


class CudaMonitor:
    """Reads the SM clock, the temperature and the throttle reasons from NVML."""

    def __init__(self, pynvml: Any, handle: Any):
        self._nvml = pynvml
        self._handle = handle

    def read(self) -> DeviceState:
        """The current state; what the driver does not report is None."""
        nvml = self._nvml

        def ask(function: Any, *arguments: Any) -> Any:
            try:
                return function(self._handle, *arguments)
            except nvml.NVMLError:
                return None

        reasons = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons) or 0
        return DeviceState(
            ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
            ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
            bool(reasons & THROTTLE_REASONS),
        )


def monitor(device: str) -> DeviceMonitor | None:
    """The monitor of "cuda" or "cpu"; None where the driver has no NVML."""
    if device != "cuda":
        return CpuMonitor()
    found = nvml_device()
    return CudaMonitor(*found) if found is not None else None


def nvml_device() -> tuple[Any, Any] | None:
    """The module `pynvml`, and its handle of the GPU in use; None where the driver has no NVML."""
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except (pynvml.NVMLError, AttributeError):
        return None


def was_throttled(before: DeviceState | None, after: DeviceState | None) -> bool:
    """Whether the device was throttled between two readings."""
    if before is None or after is None:
        return False
    return before.is_throttled or after.is_throttled or after.throttle_count > before.throttle_count


def summary(states: Sequence[DeviceState], thrown_away: int, held_back: int) -> Conditions:
    """The conditions over all rounds.

    Args:
        thrown_away: rounds that were discarded because of throttling.
        held_back: throttled rounds that were kept.
    """
    clocks = sorted(state.clock_mhz for state in states if state.clock_mhz is not None)
    temperatures = [state.temperature_c for state in states if state.temperature_c is not None]
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
