"""Is it right? The check of a kernel on one case.

Inputs at fresh addresses with NaN around them, a poisoned output and workspace between guard bands; errors are taken
against float64 and judged by those of PyTorch's own answer; inputs must be left alone; runs must agree bit for bit, and
other values at the same addresses must give another answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from evoflash.core.evaluation import Accuracy
from evoflash.core.status import Gate
from evoflash.problems import Case, Inputs, Problem
from evoflash.worker.buffers import Arena, bits
from evoflash.worker.kernel import Kernel
from evoflash.worker.references import Reference, WrongError, place

if TYPE_CHECKING:
    import torch

RUNS = 3  # the last with mirrored inputs
STREAM_DELAY_CYCLES = 10_000_000  # some milliseconds: longer than any kernel of the checks takes

TRESPASSES = {
    "output": (Gate.WRITES, "it wrote outside its output"),
    "workspace": (Gate.WORKSPACE, "it wrote outside its workspace"),
    "inputs": (Gate.WRITES, "it wrote beside its inputs"),
}


def check(kernel: Kernel, case: Case, truth: Reference, synchronize: Callable[[], None]) -> Accuracy:
    """The errors of a kernel on a case.

    Raises:
        WrongError: for a result that is out of bounds, not finite, differs from run to run, or came with stray writes.
        LaunchError: when the launcher answers an error code.
    """
    problem, name = case.problem, case.name
    arena = Arena(truth.inputs, problem.output_shape())
    bound = kernel.bind(problem, arena.inputs, arena.output.tensor, arena.workspace)

    def launch() -> torch.Tensor:
        arena.poison()
        bound()
        synchronize()
        return arena.output.tensor

    first = launch().clone()
    require_unharmed(arena, truth.inputs, name)
    lost = arena.output.unwritten()
    if bool(lost.any().item()):
        raise WrongError(f"{name}: it left nothing at {_first(lost)} ({int(lost.sum().item())} places)", Gate.UNWRITTEN)
    accuracy = judge_first(first, arena, truth, name, launch)
    for run in range(2, RUNS):
        again = launch()
        if not same_bits(first, again):
            raise WrongError(f"{name}: run {run} differs from run 1 at {_difference(first, again)}", Gate.REPEAT)
    mirrored = problem.mirror(arena.inputs)
    last = launch().clone()
    if mirrored:
        problem.mirror(arena.inputs)
    require_unharmed(arena, truth.inputs, name)
    _judge_last(last, first, truth, name, mirrored)
    return accuracy


def require_unharmed(arena: Arena, before: Inputs, name: str) -> None:
    """Raises WrongError when a kernel has written anywhere but into its output and workspace."""
    for number, (old, new) in enumerate(zip(before, arena.inputs, strict=True)):
        if not same_bits(old, new):
            raise WrongError(f"{name}: it wrote into its input {number} at {_difference(old, new)}", Gate.INPUTS)
    trespass = arena.trespass()
    if trespass is not None:
        gate, words = TRESPASSES[trespass]
        raise WrongError(f"{name}: {words}", gate)


def judge_first(
    first: torch.Tensor, arena: Arena, truth: Reference, name: str, launch: Callable[[], torch.Tensor]
) -> Accuracy:
    """The errors of a first answer; NaN that comes from around the inputs is told apart by a launch without it.

    Raises:
        WrongError: when they are out of bounds.
    """
    try:
        return truth.judge(first, name)
    except WrongError as error:
        if error.gate is not Gate.NAN:
            raise
        if not same_bits(first, launch()):
            raise WrongError(f"{error}; and another run differs", Gate.REPEAT) from None
        arena.calm()
        if not same_bits(first, launch()):
            raise WrongError(f"{error}: read from outside of its inputs", Gate.READS) from None
        raise


def judge_timed(problem: Problem, arena: Arena, truth: Reference, name: str, again: Callable[[], object]) -> None:
    """Whether launches that have been timed did their work: other values at the same addresses, and what comes out.

    Args:
        again: repeats what was timed, and waits for it.

    Raises:
        WrongError: when they did not, or harmed what is not theirs.
    """
    require_unharmed(arena, truth.inputs, name)
    mirrored = problem.mirror(arena.inputs)
    arena.poison()
    again()
    if mirrored:
        problem.mirror(arena.inputs)
    require_unharmed(arena, truth.inputs, name)
    out = arena.output.tensor
    lost = arena.output.unwritten()
    if bool(lost.any().item()):
        raise WrongError(f"{name}: the timed launches write nothing at {_first(lost)}", Gate.TIMED)
    try:
        truth.judge(-out if mirrored else out, name)
    except WrongError as error:
        raise WrongError(f"{error}", Gate.TIMED, error.accuracy) from None


def check_stream(kernel: Kernel, case: Case, truth: Reference) -> None:
    """Whether a kernel works on the current CUDA stream: its inputs arrive there late, behind some milliseconds.

    Raises:
        WrongError: when it did not wait for them.
    """
    import torch

    problem = case.problem
    arena = Arena(truth.inputs, problem.output_shape())
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
        truth.judge(out, case.name)
    except WrongError as error:
        words = f"{error}: it did not work on the current stream"
        raise WrongError(words, Gate.STREAM, error.accuracy) from None


def _judge_last(last: torch.Tensor, first: torch.Tensor, truth: Reference, name: str, mirrored: bool) -> None:
    import torch

    if not mirrored:
        if not same_bits(first, last):
            raise WrongError(f"{name}: run {RUNS} differs from run 1 at {_difference(first, last)}", Gate.REPEAT)
        return
    if torch.equal(first.nan_to_num(), -last.nan_to_num()) and torch.equal(first.isnan(), last.isnan()):
        return
    try:  # arithmetic that does not round alike for both signs is no mistake
        truth.judge(-last, name)
    except WrongError as error:
        words = f"{error}, with other values at the same addresses"
        raise WrongError(words, Gate.FRESH, error.accuracy) from None


def fresh(tensor: torch.Tensor) -> torch.Tensor:
    """A copy at a new address with the same strides."""
    import torch

    copy = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    return copy.copy_(tensor)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal to the bit, NaN included."""
    import torch

    return torch.equal(bits(left), bits(right))


def _difference(left: torch.Tensor, right: torch.Tensor) -> tuple[int, ...]:
    return _first(bits(left) != bits(right))


def _first(where: torch.Tensor) -> tuple[int, ...]:
    import torch

    return place(where.flatten().to(torch.int8).argmax().item(), tuple(where.shape))
