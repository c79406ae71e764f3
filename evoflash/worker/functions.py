"""Somebody else's attention: any Python function with SDPA's signature, under the gates that a function can meet."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from evoflash.core.evaluation import Accuracy
from evoflash.core.status import Gate
from evoflash.problems import Case
from evoflash.worker.buffers import Arena
from evoflash.worker.correctness import judge_first, require_unharmed, same_bits
from evoflash.worker.kernel import UNSUPPORTED, LaunchError
from evoflash.worker.references import Reference, WrongError

if TYPE_CHECKING:
    import torch


def load(name: str) -> Callable[..., Any]:
    """The function that "module:function" names.

    Raises:
        LaunchError: when there is none.
    """
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except Exception as error:
        raise LaunchError(f"{name} cannot be imported: {type(error).__name__}: {error}") from None
    if not callable(found):
        raise LaunchError(f"{name} is no function")
    return found


def check(function: Callable[..., Any], case: Case, truth: Reference, synchronize: Callable[[], None]) -> Accuracy:
    """The errors of a function on a case.

    Raises:
        WrongError: as for a kernel; and for an answer of another form, that shares memory with an input, or that a
            later call changes.
        LaunchError: when the function raises; with the code UNSUPPORTED where that says that it does not take this.
    """
    problem, name = case.problem, case.name
    arena = Arena(truth.inputs, problem.output_shape())
    arguments = _arguments(function, problem)

    def call() -> torch.Tensor:
        try:
            out = function(*arena.inputs, **arguments)
        except Exception as error:
            if "CUDA" in str(error):  # the device failed, which is another thing than not taking a case
                raise
            words = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            raise LaunchError(f"{name}: it raises {words}", UNSUPPORTED) from None
        synchronize()
        return out

    kept = call()
    _require_form(kept, truth, name)
    first = kept.clone()
    for number, tensor in enumerate(arena.inputs):
        if kept.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr():
            raise WrongError(f"{name}: its output shares memory with input {number}", Gate.ALIAS)
    require_unharmed(arena, truth.inputs, name)
    accuracy = judge_first(first, arena, truth, name, call)
    if not same_bits(first, call()):
        raise WrongError(f"{name}: the second call differs from the first", Gate.REPEAT)
    mirrored = problem.mirror(arena.inputs)
    last = call().clone()
    if mirrored:
        problem.mirror(arena.inputs)
        try:
            truth.judge(-last, name)
        except WrongError as error:
            words = f"{error}, with other values at the same addresses"
            raise WrongError(words, Gate.FRESH, error.accuracy) from None
    if not same_bits(first, kept):
        raise WrongError(f"{name}: a later call changes what an earlier one answered", Gate.KEPT)
    require_unharmed(arena, truth.inputs, name)
    return accuracy


def _arguments(function: Callable[..., Any], problem: Any) -> dict[str, Any]:
    """Keywords as SDPA calls them; SDPA's defaults are left out, so that a function without the keyword will do."""
    try:
        known = inspect.signature(function).parameters
        takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values())
    except (TypeError, ValueError):  # a built-in
        known, takes_any = {}, True
    causal = "causal" if "causal" in known and "is_causal" not in known else "is_causal"
    wanted = {causal: problem.causal, "scale": problem.scale}
    if "enable_gqa" in known or takes_any:
        wanted["enable_gqa"] = problem.heads != problem.kv_heads
    return {name: value for name, value in wanted.items() if value not in (None, False)}


def _require_form(out: Any, truth: Reference, name: str) -> None:
    import torch

    like, shape = truth.inputs[0], tuple(truth.reference.shape)
    if not isinstance(out, torch.Tensor):
        raise WrongError(f"{name}: it answers a {type(out).__name__}, no tensor", Gate.FORM)
    got = (tuple(out.shape), out.dtype, out.device.type)
    if got != (shape, like.dtype, like.device.type):
        raise WrongError(f"{name}: it answers {got[0]} {got[1]} on {got[2]}, not {shape} {like.dtype}", Gate.FORM)
