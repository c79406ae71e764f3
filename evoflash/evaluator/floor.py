"""How fast can it be at most? A time below this is a measurement gone wrong, whatever the kernel is.

Every rate is one that no device of its kind passes, so that no right kernel is refused: arithmetic at the largest clock
with every unit busy, loads at what each multiprocessor or core takes from its nearest shared cache, and on CUDA what a
kernel that does nothing takes in the same kind of graph, measured on this device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evoflash.core.status import Gate, Status
from evoflash.evaluator.messages import Examined
from evoflash.problems import Problem
from evoflash.targets import Target

# Dense half-precision operations of a multiprocessor in a clock: 989 TFLOP/s over 132 multiprocessors at 1.83 GHz is
# 4096 (NVIDIA H100 white paper); 2048 on sm_80 (A100's 312 TFLOP/s), 1024 on the others before; 8192 on sm_100, and on
# what is not known yet.
TENSOR_FLOPS = {60: 256, 70: 1024, 75: 1024, 80: 2048, 86: 1024, 89: 1024, 90: 4096, 100: 8192, 120: 2048}
MULTIPROCESSOR_BYTES = 128  # a clock from L2; 64 is what is seen
LAUNCH_SHARE = 0.8  # of an empty launch: two graphs do not run at the very same clock

CPU_CLOCK_GHZ = 6.2  # no processor on the market turbos higher
CPU_FMA_PORTS = 2
CPU_BYTES = 2 * 64  # of loads a clock from L1
AMX_FLOPS = 2048  # bf16 operations of a core in a clock, Intel's optimisation manual


def floor_us(problem: Problem, target: Target, machine: Mapping[str, Any]) -> float:
    """Microseconds below which nobody computes this problem on this device.

    Args:
        machine: what the worker said of itself; `empty_launch_us` is of the device.
    """
    facts, details = target.facts, target.details
    half = problem.facts().get("dtype") != "float32"
    if target.name == "cuda":
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
    cycles_us = 1e-3 / (clock_ghz * units)
    return max(launch_us, problem.flops / flops * cycles_us, problem.min_bytes / moved * cycles_us)


def why_unbelievable(time_us: float, floor: float) -> str | None:
    """Why a time cannot be; None when it can."""
    if time_us >= floor:
        return None
    return f"{time_us:.3g} us is less than the {floor:.3g} us that this device needs at least"


def believed(examined: Examined, floor: float) -> Examined:
    """With another status where the warm time cannot be."""
    warm = next((each for each in examined.timings if each.regime == "warm"), None)
    reason = why_unbelievable(warm.p50_us, floor) if warm is not None else None
    if reason is None:
        return examined
    return examined.model_copy(update={"status": Status.MISMEASURED, "gate": Gate.FLOOR, "reason": reason})
