"""The correctness check of a kernel on one case.

Inputs are copied to new addresses with NaN around them; outputs and workspace are poisoned and lie between guard bands.
Errors are measured against float64, with bounds derived from the errors of PyTorch's SDPA. Inputs must not change,
repeated runs must agree bit for bit, and new values at the same addresses must give a new result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from evoflash.core.evaluation import Accuracy
from evoflash.core.status import Gate
from evoflash.problems import Case, Inputs, Outputs, Problem
from evoflash.worker.buffers import Arena, bits
from evoflash.worker.kernel import Kernel
from evoflash.worker.references import Reference, WrongResultError, unravel_index

if TYPE_CHECKING:
    import torch

RUNS = 3  # launches per case; the last one with mirrored inputs
STREAM_DELAY_CYCLES = 10_000_000  # some milliseconds, longer than any kernel of the checks

STRAY_WRITES = {
    "workspace": (Gate.WORKSPACE, "write outside the workspace"),
    "inputs": (Gate.WRITES, "write next to an input"),
}  # others are outside an output


def check(kernel: Kernel, case: Case, reference: Reference, synchronize: Callable[[], None]) -> Accuracy:
    """Checks a kernel on a case and returns its errors.

    Raises:
        WrongResultError: for errors beyond the bounds, a stray NaN, results that differ between runs, or stray writes.
        LaunchError: when the launcher returns an error code.
    """
    problem, name = case.problem, case.name
    arena = Arena(reference.inputs, problem.outputs())
    bound = kernel.bind(problem, arena.inputs, arena.outputs, arena.workspace)

    def launch() -> Outputs:
        arena.poison()
        bound()
        synchronize()
        return arena.outputs

    first = clones(launch())
    require_no_stray_writes(arena, reference.inputs, name)
    for output, unwritten in arena.unwritten().items():
        if bool(unwritten.any().item()):
            where = f"{_first_index(unwritten)} ({int(unwritten.sum().item())} elements)"
            raise WrongResultError(f"{name}: {output} not written at {where}", Gate.UNWRITTEN)
    accuracy = check_first_outputs(first, arena, reference, name, launch)
    for run in range(2, RUNS):
        where = difference(first, launch(), arena.names)
        if where:
            raise WrongResultError(f"{name}: run {run} differs from run 1 at {where}", Gate.REPEAT)
    signs = problem.mirror(arena.inputs)
    last = clones(launch())
    if signs:
        problem.mirror(arena.inputs)
    require_no_stray_writes(arena, reference.inputs, name)
    _check_last_outputs(last, first, reference, name, signs, arena.names)
    return accuracy


def require_no_stray_writes(arena: Arena, before: Inputs, name: str) -> None:
    """Raises WrongResultError when a kernel wrote anywhere other than its outputs and workspace."""
    for number, (old, new) in enumerate(zip(before, arena.inputs, strict=True)):
        if not bitwise_equal(old, new):
            raise WrongResultError(f"{name}: input {number} was overwritten at {_difference(old, new)}", Gate.INPUTS)
    stray_write = arena.stray_write()
    if stray_write is not None:
        gate, words = STRAY_WRITES.get(stray_write, (Gate.WRITES, f"write outside the {stray_write}"))
        raise WrongResultError(f"{name}: {words}", gate)


def check_first_outputs(
    first: Outputs, arena: Arena, reference: Reference, name: str, launch: Callable[[], Outputs]
) -> Accuracy:
    """Checks the first outputs and returns their errors.

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
        if difference(first, launch(), arena.names):
            raise WrongResultError(f"{error}; another run gives a different result", Gate.REPEAT) from None
        arena.zero_surroundings()
        if difference(first, launch(), arena.names):
            raise WrongResultError(f"{error}: read outside the inputs", Gate.READS) from None
        raise


def check_timed_launches(
    problem: Problem, arena: Arena, reference: Reference, name: str, again: Callable[[], object]
) -> None:
    """Checks that timed launches compute their outputs by repeating them on new values at the same addresses.

    Args:
        again: repeats the timed launches and waits for them.

    Raises:
        WrongResultError: when an output is wrong, or something else was written.
    """
    require_no_stray_writes(arena, reference.inputs, name)
    signs = problem.mirror(arena.inputs)
    arena.poison()
    again()
    if signs:
        problem.mirror(arena.inputs)
    require_no_stray_writes(arena, reference.inputs, name)
    for output, unwritten in arena.unwritten().items():
        if bool(unwritten.any().item()):
            where = _first_index(unwritten)
            raise WrongResultError(f"{name}: the timed launches did not write the {output} at {where}", Gate.TIMED)
    try:
        reference.check(unmirrored(arena.outputs, signs), name)
    except WrongResultError as error:
        raise WrongResultError(f"{error}", Gate.TIMED, error.accuracy) from None


def check_stream(kernel: Kernel, case: Case, reference: Reference) -> None:
    """Checks that a kernel runs on the current CUDA stream, where its inputs become valid only after a delay.

    Raises:
        WrongResultError: when the kernel did not wait for its inputs.
    """
    import torch

    problem = case.problem
    arena = Arena(reference.inputs, problem.outputs())
    bound = kernel.bind(problem, arena.inputs, arena.outputs, arena.workspace)
    problem.mirror(arena.inputs)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(STREAM_DELAY_CYCLES)
        problem.mirror(arena.inputs)
        arena.poison()
        bound()
        outputs = clones(arena.outputs)
    torch.cuda.synchronize()
    try:
        reference.check(outputs, case.name)
    except WrongResultError as error:
        words = f"{error}: it does not run on the current stream"
        raise WrongResultError(words, Gate.STREAM, error.accuracy) from None


def _check_last_outputs(
    last: Outputs, first: Outputs, reference: Reference, name: str, signs: tuple[int, ...], names: tuple[str, ...]
) -> None:
    if not signs:
        where = difference(first, last, names)
        if where:
            raise WrongResultError(f"{name}: run {RUNS} differs from run 1 at {where}", Gate.REPEAT)
        return
    restored = unmirrored(last, signs)
    if all(_same_numbers(*pair) for pair in zip(first, restored, strict=True)):
        return
    try:  # rounding may depend on the sign, so mirrored outputs only have to be within the bounds
        reference.check(restored, name)
    except WrongResultError as error:
        words = f"{error}, with new values at the same addresses"
        raise WrongResultError(words, Gate.FRESH, error.accuracy) from None


def _same_numbers(left: torch.Tensor, right: torch.Tensor) -> bool:
    import torch

    return torch.equal(left.nan_to_num(), right.nan_to_num()) and torch.equal(left.isnan(), right.isnan())


def unmirrored(outputs: Outputs, signs: tuple[int, ...]) -> Outputs:
    """What the outputs would be of inputs that `Problem.mirror`, which returned these signs, had not changed."""
    if not signs:
        return outputs
    return tuple(-each if sign < 0 else each for each, sign in zip(outputs, signs, strict=True))


def clones(outputs: Outputs) -> Outputs:
    """Copies, which a further launch does not change."""
    return tuple(each.clone() for each in outputs)


def clone_with_strides(tensor: torch.Tensor) -> torch.Tensor:
    """A copy with the same strides."""
    import torch

    copy = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    return copy.copy_(tensor)


def bitwise_equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors are equal bit for bit, NaN included."""
    import torch

    return torch.equal(bits(left), bits(right))


def difference(left: Outputs, right: Outputs, names: Sequence[str]) -> str:
    """The first place where outputs differ in any bit, with the output's name where there are several; or empty."""
    for name, one, other in zip(names, left, right, strict=True):
        if not bitwise_equal(one, other):
            where = str(_difference(one, other))
            return f"{name} {where}" if len(names) > 1 else where
    return ""


def _difference(left: torch.Tensor, right: torch.Tensor) -> tuple[int, ...]:
    return _first_index(bits(left) != bits(right))


def _first_index(where: torch.Tensor) -> tuple[int, ...]:
    import torch

    return unravel_index(where.flatten().to(torch.int8).argmax().item(), tuple(where.shape))
