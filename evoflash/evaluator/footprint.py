"""What a problem's tensors take of memory, which is asked before anything is built."""

from __future__ import annotations

import math

from evoflash.errors import UsageError
from evoflash.problems import Problem, dtypes
from evoflash.targets import Target

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def require_memory(problem: Problem, target: Target) -> None:
    """Refuses a problem of which inputs, outputs and their float64 reference have no room, as they are on the device
    at once. A problem that is let through may need more.

    Raises:
        UsageError: with the sizes.
    """
    free = target.free_bytes()
    shapes = zip(problem.input_shapes(), problem.input_dtypes(), strict=True)
    inputs = sum(math.prod(shape) * dtypes.BYTES[dtype] for shape, dtype in shapes)
    written = [(math.prod(each.shape), each) for each in problem.outputs()]
    outputs = sum(count * dtypes.BYTES[each.dtype] for count, each in written if each.updates is None)
    reference = sum(count * dtypes.BYTES["float64"] for count, _ in written)
    needed = inputs + outputs + reference
    if free is None or needed <= free:
        return
    where = "this machine" if target.name == "cpu" else target.device
    raise UsageError(
        f"{problem.label} needs {_size(needed)}: {_size(inputs)} of inputs, {_size(outputs)} of outputs and "
        f"{_size(reference)} of their reference in float64; {where} has {_size(free)} free; take a smaller shape, or "
        "free memory"
    )


def _size(count: int) -> str:
    """In the largest unit of which there is at least one."""
    power = min(max(0, (count.bit_length() - 1) // 10), len(UNITS) - 1)
    return f"{count / 1024**power:.3g} {UNITS[power]}"
