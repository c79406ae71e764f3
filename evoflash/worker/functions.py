"""Correctness checks of a user's Python function, called as its problem says (`Problem.call_of`)."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from evoflash.core.evaluation import Accuracy
from evoflash.core.status import Gate
from evoflash.problems import Case, Inputs, NotTakenError, Outputs, Problem, updated
from evoflash.worker.buffers import Arena
from evoflash.worker.correctness import Renewed, check_first_outputs, clones, difference, require_no_stray_writes
from evoflash.worker.launch import UNSUPPORTED, LaunchError
from evoflash.worker.references import Reference, WrongResultError


def load(name: str) -> Callable[..., Any]:
    """Imports the function named by "module:function", from the working directory, too.

    Raises:
        LaunchError: when it cannot be imported or called.
    """
    module, _, path = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # the last, so that no file there stands before a library's module
    try:
        found: Any = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except Exception as error:
        raise LaunchError(f"{name} cannot be imported: {type(error).__name__}: {error}") from None
    if not callable(found):
        raise LaunchError(f"{name} is not callable")
    return found


def check(function: Callable[..., Any], case: Case, reference: Reference, synchronize: Callable[[], None]) -> Accuracy:
    """Checks a function on a case and returns its errors.

    Raises:
        WrongResultError: as for a kernel; also for an output of the wrong form, one that shares memory with an input,
            or one that a later call changes.
        LaunchError: with the code UNSUPPORTED, when the function raises.
    """
    problem, name = case.problem, case.name
    arena = Arena(reference.inputs, problem.outputs())
    bound = call_of(function, problem, arena.inputs)

    def call() -> Any:
        try:
            answer = bound()
        except Exception as error:
            if "CUDA" in str(error):  # a failure of the device, not an unsupported case
                raise
            words = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            raise LaunchError(f"{name}: the function raised {words}", UNSUPPORTED) from None
        synchronize()
        return answer

    def compute() -> Outputs:
        arena.updates.restore()
        return outputs_of(call(), reference, name, arena.inputs)

    kept = compute()
    first = clones(kept)
    own = sum(each.updates is None for each in problem.outputs())  # the others are updated in place
    for output, returned in zip(arena.names[:own], kept[:own], strict=True):
        for number, tensor in enumerate(arena.inputs):
            if returned.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr():
                raise WrongResultError(f"{name}: the {output} shares memory with input {number}", Gate.ALIAS)
    require_no_stray_writes(arena, reference.inputs, name)
    accuracy = check_first_outputs(first, arena, reference, name, compute)
    if difference(first, compute(), arena.names):
        raise WrongResultError(f"{name}: the second call differs from the first", Gate.REPEAT)
    renewed = Renewed(problem, arena, reference)
    last = clones(compute())
    renewed.restore()
    if renewed.changes:
        try:
            renewed.check(last, name)
        except WrongResultError as error:
            words = f"{error}, with new values at the same addresses"
            raise WrongResultError(words, Gate.FRESH, error.accuracy) from None
    if difference(first[:own], kept[:own], arena.names[:own]):
        raise WrongResultError(f"{name}: a later call changed an earlier output", Gate.KEPT)
    require_no_stray_writes(arena, reference.inputs, name)
    return accuracy


def call_of(function: Callable[..., Any], problem: Problem, inputs: Inputs) -> Callable[[], Any]:
    """A call of a function on these inputs.

    Raises:
        LaunchError: with the code UNSUPPORTED, when such functions have no arguments for the problem.
    """
    try:
        return problem.call_of(function, inputs)
    except NotTakenError as error:
        raise LaunchError(str(error), UNSUPPORTED) from None


def outputs_of(answer: Any, reference: Reference, name: str, inputs: Inputs) -> Outputs:
    """The outputs in what a function has returned, the one tensor, a tuple of several or None, and has updated.

    Args:
        inputs: those that it was called with.

    Raises:
        WrongResultError: for something else, or a tensor of another shape, type or device.
    """
    import torch

    every = [each.output for each in reference.outputs]
    wanted = [each for each in every if each.updates is None]
    outputs = (answer,) if len(wanted) == 1 else answer
    if not wanted and answer is None:
        outputs = ()
    if not isinstance(outputs, tuple) or len(outputs) != len(wanted):
        what = f"{len(outputs)} values" if isinstance(outputs, tuple) else f"a {type(answer).__name__}"
        instead = f"{len(wanted)} tensors" if wanted else "None"
        raise WrongResultError(f"{name}: returned {what} instead of {instead}", Gate.FORM)
    device = reference.inputs[0].device.type
    for out, output in zip(outputs, wanted, strict=True):
        if not isinstance(out, torch.Tensor):
            raise WrongResultError(f"{name}: returned a {type(out).__name__} instead of a tensor", Gate.FORM)
        got = (tuple(out.shape), out.dtype, out.device.type)
        dtype = getattr(torch, output.dtype)
        if got != (output.shape, dtype, device):
            form = f"{output.shape} {dtype} on {device}"
            raise WrongResultError(f"{name}: returned {got[0]} {got[1]} on {got[2]}, expected {form}", Gate.FORM)
    return (*outputs, *updated(every, inputs))
