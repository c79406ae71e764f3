"""The floor: a lower bound on the time of any kernel. A time below it is a measurement error.

The rates are upper bounds for each kind of device, so that no correct kernel is rejected: arithmetic at the maximum
clock with every unit busy, loads at the rate at which each multiprocessor or core can read its nearest cache, and on
CUDA the time of an empty kernel in the same kind of graph, measured on this device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evoflash.core.status import Gate, Status
from evoflash.evaluator.messages import Examined
from evoflash.problems import Problem
from evoflash.targets import Target

# Dense half-precision operations per multiprocessor and clock. sm_90: 989 TFLOP/s over 132 multiprocessors at 1.83 GHz
# is 4096 (NVIDIA H100 white paper). sm_80: 2048 (A100, 312 TFLOP/s). Unknown architectures get the maximum.
TENSOR_FLOPS = {60: 256, 70: 1024, 75: 1024, 80: 2048, 86: 1024, 89: 1024, 90: 4096, 100: 8192, 120: 2048}
MULTIPROCESSOR_BYTES = 128  # L2 bytes per multiprocessor and clock; the observed maximum is 64
LAUNCH_SHARE = 0.8  # of an empty launch, since the clock may differ between two graphs

CPU_CLOCK_GHZ = 6.2  # the highest turbo clock on the market
CPU_FMA_PORTS = 2
CPU_BYTES = 2 * 64  # L1 load bytes per core and clock
AMX_FLOPS = 2048  # bf16 operations per core and clock, Intel's optimisation manual


@dataclass(frozen=True)
class Ceilings:
    """Upper bounds on the rates of a device, from its kind and clock; none of them was measured, but for the launch.

    Attributes:
        flops_per_us: arithmetic with every unit busy at the highest clock.
        bytes_per_us: loads from the nearest cache that all units share with others, or on a CPU from their own.
        launch_us: the least time of any launch.
    """

    flops_per_us: float
    bytes_per_us: float
    launch_us: float


def ceilings(
    kind: str, facts: Mapping[str, Any], details: Mapping[str, Any], machine: Mapping[str, Any], *, half: bool
) -> Ceilings:
    """The upper bounds of a device.

    Args:
        kind: the target's name.
        facts, details: the target's.
        machine: the facts reported by the worker; `empty_launch_us` is the time of an empty kernel.
        half: whether operands have 16 bits or fewer.
    """
    if kind == "cuda":
        clock_ghz = float(details.get("max_sm_clock_mhz") or 2500) / 1e3
        units = facts["multiprocessors"]
        flops = TENSOR_FLOPS.get(facts["arch"], max(TENSOR_FLOPS.values())) / (1 if half else 2)  # TF32 at most
        moved = MULTIPROCESSOR_BYTES
        launch_us = LAUNCH_SHARE * float(machine.get("empty_launch_us") or 0.0)
    else:
        clock_ghz, units = CPU_CLOCK_GHZ, facts["cores"]
        flops = CPU_FMA_PORTS * 2 * facts["vector_bytes"] / 4 * (2 if half else 1)  # dot products of pairs
        flops = max(flops, AMX_FLOPS) if facts.get("amx") and half else flops
        moved, launch_us = CPU_BYTES, 0.0
    cycles_per_us = 1e3 * clock_ghz * units
    return Ceilings(flops * cycles_per_us, moved * cycles_per_us, launch_us)


def floor_us(problem: Problem, target: Target, machine: Mapping[str, Any]) -> float:
    """The lower bound, in microseconds, on computing a problem on a device.

    Args:
        machine: the facts reported by the worker; `empty_launch_us` is the time of an empty kernel.
    """
    known = ceilings(target.name, target.facts, target.details, machine, half=is_half(problem))
    return max(known.launch_us, problem.flops / known.flops_per_us, problem.min_bytes / known.bytes_per_us)


def is_half(problem: Problem) -> bool:
    """Whether a problem's operands have 16 bits or fewer."""
    return problem.facts().get("dtype") != "float32"


def why_below_floor(time_us: float, floor: float) -> str | None:
    """Why a time is impossible; None when it is plausible."""
    if time_us >= floor:
        return None
    return f"{time_us:.3g} us is less than {floor:.3g} us, the lower bound on this device"


def reject_below_floor(examined: Examined, floor: float) -> Examined:
    """The result, with status `MISMEASURED` when its warm time is below the floor."""
    warm = next((each for each in examined.timings if each.regime == "warm"), None)
    reason = why_below_floor(warm.p50_us, floor) if warm is not None else None
    if reason is None:
        return examined
    return examined.model_copy(update={"status": Status.MISMEASURED, "gate": Gate.FLOOR, "reason": reason})
