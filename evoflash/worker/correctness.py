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
from evoflash.worker.bits import bits
from evoflash.worker.buffers import Arena
from evoflash.worker.kernel import AnyKernel
from evoflash.worker.references import Reference, WrongResultError, unravel_index

if TYPE_CHECKING:
    import torch

RUNS = 3  # launches per case; the last one with mirrored inputs
STREAM_DELAY_CYCLES = 10_000_000  # some milliseconds, longer than any kernel of the checks

STRAY_WRITES = {
    "workspace": (Gate.WORKSPACE, "write outside the workspace"),
    "inputs": (Gate.WRITES, "write next to an input"),
}  # others are outside an output


def check(kernel: AnyKernel, case: Case, reference: Reference, synchronize: Callable[[], None]) -> Accuracy:
    """Checks a kernel on a case and returns its errors.

    Raises:
        WrongResultError: for errors beyond the bounds, a stray NaN, results that differ between runs, or stray writes.
        LaunchError: when the launcher returns an error code.
    """
    problem, name = case.problem, case.name
    arena = Arena(reference.inputs, problem.outputs())
    bound = kernel.bind(problem, arena.inputs, arena.outputs, arena.workspace)

    def once() -> None:
        bound()
        synchronize()

    def launch() -> Outputs:
        arena.poison()
        once()
        return arena.outputs

    first = clones(launch())
    require_no_stray_writes(arena, reference.inputs, name)
    for output, unwritten in arena.unwritten(once).items():
        if bool(unwritten.any().item()):
            where = f"{_first_index(unwritten)} ({int(unwritten.sum().item())} elements)"
            raise WrongResultError(f"{name}: {output} not written at {where}", Gate.UNWRITTEN)
    accuracy = check_first_outputs(first, arena, reference, name, launch)
    for run in range(2, RUNS):
        where = difference(first, launch(), arena.names)
        if where:
            raise WrongResultError(f"{name}: run {run} differs from run 1 at {where}", Gate.REPEAT)
    renewed = Renewed(problem, arena, reference)
    last = clones(launch())
    renewed.restore()
    require_no_stray_writes(arena, reference.inputs, name)
    _check_last_outputs(last, first, renewed, name, arena.names)
    return accuracy


class Renewed:
    """The inputs of an arena, which are given other values in place.

    These are mirrored (`Problem.mirror`) or, where a problem has no such transformation, those of another seed. What a
    launch updates in place has them before it.

    Attributes:
        signs: what `Problem.mirror` returned.
    """

    def __init__(self, problem: Problem, arena: Arena, reference: Reference):
        self._problem, self._arena, self._reference = problem, arena, reference
        arena.updates.restore()
        self.signs = problem.mirror(arena.inputs)
        if not self.signs and reference.other is not None:
            self._copy(reference.other.inputs)
        arena.updates.remember()

    def restore(self) -> None:
        """Gives the inputs their first values again."""
        self._arena.updates.restore()
        if self.signs:
            self._problem.mirror(self._arena.inputs)
        elif self._reference.other is not None:
            self._copy(self._reference.inputs)
        self._arena.updates.remember()

    def check(self, outputs: Outputs, name: str) -> None:
        """Raises WrongResultError when these are not the outputs of the other values."""
        if not self.signs and self._reference.other is not None:
            self._reference.other.check(outputs, name)
        else:
            self._reference.check(unmirrored(outputs, self.signs), name)

    @property
    def changes(self) -> bool:
        """Whether the values are others at all."""
        return bool(self.signs) or self._reference.other is not None

    def _copy(self, values: Inputs) -> None:
        for mine, others in zip(self._arena.inputs, values, strict=True):
            mine.copy_(others)


def require_no_stray_writes(arena: Arena, before: Inputs, name: str) -> None:
    """Raises WrongResultError when a kernel wrote anywhere other than its outputs and workspace."""
    for number, (old, new) in enumerate(zip(before, arena.inputs, strict=True)):
        if not arena.is_updated(number) and not bitwise_equal(old, new):
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
    renewed = Renewed(problem, arena, reference)
    arena.poison()
    again()
    may_change = arena.may_hold_poison or any(each.updates is not None for each in problem.outputs())
    outputs = clones(arena.outputs) if may_change else arena.outputs
    renewed.restore()
    require_no_stray_writes(arena, reference.inputs, name)
    for output, unwritten in arena.unwritten(again).items():
        if bool(unwritten.any().item()):
            where = _first_index(unwritten)
            raise WrongResultError(f"{name}: the timed launches did not write the {output} at {where}", Gate.TIMED)
    try:
        renewed.check(outputs, name)
    except WrongResultError as error:
        raise WrongResultError(f"{error}", Gate.TIMED, error.accuracy) from None


def check_stream(kernel: AnyKernel, case: Case, reference: Reference) -> None:
    """Checks that a kernel runs on the current CUDA stream, where its inputs become valid only after a delay.

    Raises:
        WrongResultError: when the kernel did not wait for its inputs.
    """
    import torch

    problem = case.problem
    arena = Arena(reference.inputs, problem.outputs())
    bound = kernel.bind(problem, arena.inputs, arena.outputs, arena.workspace)
    renewed = Renewed(problem, arena, reference)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(STREAM_DELAY_CYCLES)
        renewed.restore()
        arena.poison()
        bound()
        outputs = clones(arena.outputs)
    torch.cuda.synchronize()
    try:
        reference.check(outputs, case.name)
    except WrongResultError as error:
        words = f"{error}: it does not run on the current stream"
        raise WrongResultError(words, Gate.STREAM, error.accuracy) from None


def _check_last_outputs(last: Outputs, first: Outputs, renewed: Renewed, name: str, names: tuple[str, ...]) -> None:
    if not renewed.changes:
        where = difference(first, last, names)
        if where:
            raise WrongResultError(f"{name}: run {RUNS} differs from run 1 at {where}", Gate.REPEAT)
        return
    if renewed.signs and all(_same_numbers(*pair) for pair in zip(first, unmirrored(last, renewed.signs), strict=True)):
        return
    try:  # rounding may depend on the sign, so mirrored outputs only have to be within the bounds
        renewed.check(last, name)
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
