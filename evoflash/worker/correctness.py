"""The correctness check of a kernel on one case.

Inputs are copied to new addresses with NaN around them; output and workspace are poisoned and lie between guard bands.
Errors are measured against float64, with bounds derived from the errors of PyTorch's SDPA. Inputs must not change,
repeated runs must agree bit for bit, and new values at the same addresses must give a new result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from evoflash.core.evaluation import Accuracy
from evoflash.core.status import Gate
from evoflash.problems import Case, Inputs, Problem
from evoflash.worker.buffers import Arena, bits
from evoflash.worker.kernel import Kernel
from evoflash.worker.references import Reference, WrongResultError, unravel_index

if TYPE_CHECKING:
    import torch

RUNS = 3  # launches per case; the last one with mirrored inputs
STREAM_DELAY_CYCLES = 10_000_000  # some milliseconds, longer than any kernel of the checks

STRAY_WRITES = {
    "output": (Gate.WRITES, "write outside the output"),
    "workspace": (Gate.WORKSPACE, "write outside the workspace"),
    "inputs": (Gate.WRITES, "write next to an input"),
}


def check(kernel: Kernel, case: Case, reference: Reference, synchronize: Callable[[], None]) -> Accuracy:
    """Checks a kernel on a case and returns its errors.

    Raises:
        WrongResultError: for errors beyond the bounds, a stray NaN, results that differ between runs, or stray writes.
        LaunchError: when the launcher returns an error code.
    """
    problem, name = case.problem, case.name
    arena = Arena(reference.inputs, problem.output_shape())
    bound = kernel.bind(problem, arena.inputs, arena.output.tensor, arena.workspace)

    def launch() -> torch.Tensor:
        arena.poison()
        bound()
        synchronize()
        return arena.output.tensor

    first = launch().clone()
    require_no_stray_writes(arena, reference.inputs, name)
    unwritten = arena.output.unwritten()
    if bool(unwritten.any().item()):
        where = f"{_first_index(unwritten)} ({int(unwritten.sum().item())} elements)"
        raise WrongResultError(f"{name}: output not written at {where}", Gate.UNWRITTEN)
    accuracy = check_first_output(first, arena, reference, name, launch)
    for run in range(2, RUNS):
        again = launch()
        if not bitwise_equal(first, again):
            raise WrongResultError(f"{name}: run {run} differs from run 1 at {_difference(first, again)}", Gate.REPEAT)
    mirrored = problem.mirror(arena.inputs)
    last = launch().clone()
    if mirrored:
        problem.mirror(arena.inputs)
    require_no_stray_writes(arena, reference.inputs, name)
    _check_last_output(last, first, reference, name, mirrored)
    return accuracy


def require_no_stray_writes(arena: Arena, before: Inputs, name: str) -> None:
    """Raises WrongResultError when a kernel wrote anywhere other than its output and workspace."""
    for number, (old, new) in enumerate(zip(before, arena.inputs, strict=True)):
        if not bitwise_equal(old, new):
            raise WrongResultError(f"{name}: input {number} was overwritten at {_difference(old, new)}", Gate.INPUTS)
    stray_write = arena.stray_write()
    if stray_write is not None:
        gate, words = STRAY_WRITES[stray_write]
        raise WrongResultError(f"{name}: {words}", gate)


def check_first_output(
    first: torch.Tensor, arena: Arena, reference: Reference, name: str, launch: Callable[[], torch.Tensor]
) -> Accuracy:
    """Checks the first output and returns its errors.

    On a stray NaN, two more launches find its cause: a nondeterministic kernel, or reads outside the inputs, for which
    the second launch has zeros instead of NaN around the inputs.

    Raises:
        WrongResultError: when the errors are beyond the bounds.
    """
    try:
        return reference.check(first, name)
    except WrongResultError as error:
        if error.gate is not Gate.NAN:
            raise
        if not bitwise_equal(first, launch()):
            raise WrongResultError(f"{error}; another run gives a different result", Gate.REPEAT) from None
        arena.zero_surroundings()
        if not bitwise_equal(first, launch()):
            raise WrongResultError(f"{error}: read outside the inputs", Gate.READS) from None
        raise


def check_timed_launches(
    problem: Problem, arena: Arena, reference: Reference, name: str, again: Callable[[], object]
) -> None:
    """Checks that timed launches compute their output by repeating them on new values at the same addresses.

    Args:
        again: repeats the timed launches and waits for them.

    Raises:
        WrongResultError: when the output is wrong, or something else was written.
    """
    require_no_stray_writes(arena, reference.inputs, name)
    mirrored = problem.mirror(arena.inputs)
    arena.poison()
    again()
    if mirrored:
        problem.mirror(arena.inputs)
    require_no_stray_writes(arena, reference.inputs, name)
    out = arena.output.tensor
    unwritten = arena.output.unwritten()
    if bool(unwritten.any().item()):
        where = _first_index(unwritten)
        raise WrongResultError(f"{name}: the timed launches did not write the output at {where}", Gate.TIMED)
    try:
        reference.check(-out if mirrored else out, name)
    except WrongResultError as error:
        raise WrongResultError(f"{error}", Gate.TIMED, error.accuracy) from None


def check_stream(kernel: Kernel, case: Case, reference: Reference) -> None:
    """Checks that a kernel runs on the current CUDA stream, where its inputs become valid only after a delay.

    Raises:
        WrongResultError: when the kernel did not wait for its inputs.
    """
    import torch

    problem = case.problem
    arena = Arena(reference.inputs, problem.output_shape())
    bound = kernel.bind(problem, arena.inputs, arena.output.tensor, arena.workspace)
    problem.mirror(arena.inputs)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(STREAM_DELAY_CYCLES)
        problem.mirror(arena.inputs)
        arena.poison()
        bound()
        out = arena.output.tensor.clone()
    torch.cuda.synchronize()
    try:
        reference.check(out, case.name)
    except WrongResultError as error:
        words = f"{error}: it does not run on the current stream"
        raise WrongResultError(words, Gate.STREAM, error.accuracy) from None


def _check_last_output(
    last: torch.Tensor, first: torch.Tensor, reference: Reference, name: str, mirrored: bool
) -> None:
    import torch

    if not mirrored:
        if not bitwise_equal(first, last):
            raise WrongResultError(f"{name}: run {RUNS} differs from run 1 at {_difference(first, last)}", Gate.REPEAT)
        return
    if torch.equal(first.nan_to_num(), -last.nan_to_num()) and torch.equal(first.isnan(), last.isnan()):
        return
    try:  # rounding may depend on the sign, so the mirrored output only has to be within the bounds
        reference.check(-last, name)
    except WrongResultError as error:
        words = f"{error}, with new values at the same addresses"
        raise WrongResultError(words, Gate.FRESH, error.accuracy) from None


def clone_with_strides(tensor: torch.Tensor) -> torch.Tensor:
    """A copy with the same strides."""
    import torch

    copy = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    return copy.copy_(tensor)


def bitwise_equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors are equal bit for bit, NaN included."""
    import torch

    return torch.equal(bits(left), bits(right))


def _difference(left: torch.Tensor, right: torch.Tensor) -> tuple[int, ...]:
    return _first_index(bits(left) != bits(right))


def _first_index(where: torch.Tensor) -> tuple[int, ...]:
    import torch

    return unravel_index(where.flatten().to(torch.int8).argmax().item(), tuple(where.shape))
