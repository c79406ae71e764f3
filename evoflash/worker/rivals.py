"""Rivals in a race: bound to the inputs, checked against the reference, captured, and checked again as captured."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from evoflash.core.status import Gate
from evoflash.problems import Inputs, Problem, searched_cases
from evoflash.problems.rival import BoundCall, Rival
from evoflash.worker import functions, race
from evoflash.worker.buffers import poison
from evoflash.worker.clock import Clock
from evoflash.worker.correctness import bitwise_equal
from evoflash.worker.launch import LaunchError
from evoflash.worker.references import References, WrongResultError
from evoflash.worker.updates import Repetition, Updates

LONGEST_REASON = 300  # characters


class UnfitError(Exception):
    """A rival does not take the problem, or cannot be timed; the message says why."""


class UserFunction(Rival):
    """A function of the user's, named by "module:function", with the arguments that its problem says."""

    def __init__(self, name: str):
        self.name = name
        self.module = name.partition(":")[0]
        self.package = self.module.partition(".")[0]

    def refusal(self, problem: Any) -> str:
        """Nothing in advance: the function raises when it does not take a problem."""
        return ""

    def load(self) -> Any:
        """The function.

        Raises:
            LaunchError: when it cannot be imported or called.
        """
        return functions.load(self.name)

    def bind(self, problem: Any, inputs: Inputs) -> BoundCall:
        """A call as the problem says."""
        return functions.call_of(self.load(), problem, inputs)


class _Kept:
    """A call whose last answer is kept: of a captured call it is the memory that every replay writes."""

    def __init__(self, call: BoundCall):
        self._call = call
        self.answer: Any = None

    def __call__(self) -> None:
        self.answer = self._call()


def find(name: str, problem: Problem, device: str) -> Rival:
    """The rival of this name, which may be "module:function".

    Raises:
        UnfitError: when the problem has none of that name on the device.
    """
    if ":" in name:
        return UserFunction(name)
    found = next((each for each in problem.rivals(device) if each.name == name), None)
    if found is None:
        raise UnfitError(f"there is none of that name for {problem.kind} on {device}")
    return found


def prepare(
    rival: Rival,
    problem: Problem,
    sets: Sequence[Inputs],
    references: References,
    clock: Clock,
    repetition: Repetition | None = None,
) -> race.PreparedCalls:
    """The captured calls of a rival whose output is right, eagerly and as captured.

    Args:
        sets: copies of the inputs of the searched cases, in their order, which begins again; what a rival has changed
            there is restored.
        repetition: limits the launches of a sample, where the problem updates something in place.

    Raises:
        UnfitError: when it does not take the problem, or some of its launches escape the capture.
        WrongResultError: when its output is wrong, or it writes to its inputs.
        Exception: whatever else the package raises.
    """
    refusal = rival.refusal(problem)
    if refusal:
        raise UnfitError(refusal)
    searched = searched_cases(problem)
    cases = [searched[number % len(searched)] for number in range(len(sets))]
    known = [references.of(case) for case in cases]
    updates = [Updates(problem.outputs(), *each) for each in zip(sets, [one.inputs for one in known], strict=True)]

    def restore() -> None:
        for each in updates:
            each.restore()

    try:
        calls = [_Kept(rival.bind(problem, inputs)) for inputs in sets]
        restore()
        for call, inputs, case, reference in zip(calls, sets, cases, known, strict=True):
            call()
            reference.check(functions.outputs_of(call.answer, reference, case.name, inputs), case.name)
        prepared = race.prepare(clock, calls, restore if repetition else None, repetition)
        if not clock.is_complete(prepared.captured):
            raise UnfitError("some of its launches are outside the CUDA graph that is timed")
        timed = list(zip(calls, sets, cases, known, strict=True))[: prepared.launches]
        for call, inputs, case, reference in timed:
            for out in functions.outputs_of(call.answer, reference, case.name, inputs):
                poison(out)
        clock.sample(prepared.captured, prepared.before)
        for call, inputs, case, _ in timed:
            reference = references.of(case, prepared.launches // len(calls) or 1 if repetition else 1)
            outputs = functions.outputs_of(call.answer, reference, case.name, inputs)
            reference.check(outputs, f"{case.name}, as timed")
        in_place = {each.updates for each in problem.outputs()}
        for inputs, case, reference in zip(sets, cases, known, strict=True):
            for number, (old, new) in enumerate(zip(reference.inputs, inputs, strict=True)):
                if number not in in_place and not bitwise_equal(old, new):
                    raise WrongResultError(f"{case.name}: input {number} was overwritten", Gate.INPUTS)
    except Exception:
        for inputs, reference in zip(sets, known, strict=True):
            for old, new in zip(reference.inputs, inputs, strict=True):
                new.copy_(old)
        raise
    return prepared


def why(error: Exception) -> str:
    """The first line of an error, shortened, with its class unless that is one of evoflash's."""
    first = textwrap.shorten(next(iter(str(error).strip().splitlines()), ""), LONGEST_REASON)
    if isinstance(error, (UnfitError, WrongResultError, LaunchError)):
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
