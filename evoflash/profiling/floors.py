"""Lower bounds on a kernel's time by what this device attains at best, measured, not looked up.

`evaluator.floor` has a bound that no kernel can pass. These are what a good kernel comes near: its bytes at the pace of
a copy, its operations at the pace of a matrix product, and an empty launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evoflash.evaluator.messages import Ceilings
from evoflash.problems import Problem


def floors_us(problem: Problem, ceilings: Ceilings, machine: Mapping[str, Any]) -> dict[str, float]:
    """Microseconds by name: "memory", "arithmetic" and, where there are launches, "launch".

    Args:
        machine: the facts reported by the worker.
    """
    found = {
        "memory": 1e6 * problem.min_bytes / ceilings.copy_bytes_per_s,
        "arithmetic": 1e6 * problem.flops / ceilings.flops_per_s,
    }
    launch = machine.get("empty_launch_us")
    return found | ({"launch": float(launch)} if launch else {})
