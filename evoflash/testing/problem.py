"""The conformance suite of problems: plain data, inputs, the reference, and what PyTorch makes of it."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from evoflash.problems import Inputs, Output, Outputs, Problem, updated
from evoflash.testing.expectation import expect

if TYPE_CHECKING:
    import torch

DISAGREEMENT = 0.03  # relative to the rms of the reference; the error of an 8-bit mantissa is a tenth of that


def check_problem(problem: Problem, device: str = "cpu") -> None:
    """Checks a problem: plain data, reproducible inputs, a float64 reference, tolerances that PyTorch meets.

    Args:
        device: "cpu" or "cuda", where the tensors are allocated.

    Raises:
        AssertionError: saying which requirement is violated.
    """
    _check_data(problem)
    names = [case.name for case in problem.cases()]
    expect(bool(names), "cases() must give at least one case")
    expect(len(set(names)) == len(names), f"two cases have one name: {sorted(names)}")
    for case in problem.cases():
        expect(
            isinstance(case.problem, type(problem)), f"case {case.name}: its problem is a {type(case.problem).__name__}"
        )
        _check_data(case.problem)
        inputs = case.problem.inputs(case.seed, case.variant, device)
        own = tuple(each.empty(device) for each in case.problem.outputs() if each.updates is None)
        outputs = (*own, *updated(case.problem.outputs(), inputs))
        _check_arguments(case.problem, inputs, outputs)
    _check_inputs(problem, device)
    _check_answers(problem, device)
    _check_mirror(problem, device)


def _check_data(problem: Problem) -> None:
    expect(isinstance(problem.kind, str) and bool(problem.kind), "kind must be a name")
    again = type(problem)(**json.loads(json.dumps(problem.model_dump(mode="json"))))
    expect(again == problem and hash(again) == hash(problem), f"{problem!r} comes back from JSON as {again!r}")
    expect(bool(problem.label), "label must not be empty")
    names = [each.name for each in problem.outputs()]
    expect(bool(names), "outputs() must give at least one output")
    places = [each.updates for each in problem.outputs()]
    own = places.count(None)
    expect(places[:own] == [None] * own, "outputs that are inputs updated in place must come last")
    expect(len(set(names)) == len(names) and all(map(str.isidentifier, names)), f"outputs have the names {names}")
    expect(not {"workspace", "inputs"} & set(names), f"outputs have the names {names}; messages have others of these")
    for name, fact in problem.facts().items():
        plain = isinstance(fact, bool | int | float | str)
        expect(name.isidentifier() and plain, f"fact {name!r} is {fact!r}; names must be identifiers, values scalars")
    for name, figure in (("flops", problem.flops), ("min_bytes", problem.min_bytes)):
        expect(isinstance(figure, int) and figure > 0, f"{name} is {figure!r}; it must be a positive integer")


def _check_inputs(problem: Problem, device: str) -> None:
    import torch

    first, again, other = (problem.inputs(seed, "normal", device) for seed in (0, 0, 1))
    same = all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    expect(same, "inputs(seed) must return the same values each time")
    differ = any(not torch.equal(one, two) for one, two in zip(first, other, strict=True))
    expect(differ, "inputs of different seeds are equal")
    for number, tensor in enumerate(first):
        expect(tensor.device.type == device, f"input {number} is on {tensor.device}, not on {device}")
        expect(
            bool(tensor.double().isfinite().all().item()), f"input {number} of the normal variant contains NaN or Inf"
        )


def _check_answers(problem: Problem, device: str) -> None:
    import torch

    inputs = problem.inputs(0, "normal", device)
    before = [tensor.clone() for tensor in inputs]
    reference, wanted = problem.reference(inputs), problem.outputs()
    count = len(wanted)
    expect(isinstance(reference, tuple) and len(reference) == count, f"reference() must return a tuple of {count}")
    for each, output in zip(reference, wanted, strict=True):
        where = f"the reference of {output.name}"
        expect(each.dtype == torch.float64, f"{where} is {each.dtype}; it must be computed in float64")
        expect(tuple(each.shape) == output.shape, f"{where} has the shape {tuple(each.shape)}")
    answers: Iterator[tuple[str, Any]] = iter([("plain", problem.plain), *problem.baselines(device).items()])
    worked = 0
    for name, function in answers:
        try:
            given = inputs if name == "plain" else tuple(each.clone() for each in inputs)
            answer = function(given) if name == "plain" else function(*given)
        except RuntimeError:  # a backend that does not support this problem
            expect(name != "plain", "plain() fails")
            continue
        worked += name != "plain"
        outputs = answer
        if name != "plain":
            returned = answer if isinstance(answer, tuple) else () if answer is None else (answer,)
            outputs = (*returned, *updated(wanted, given))
            in_place = {each.updates for each in wanted}
            pairs = [pair for number, pair in enumerate(zip(before, given, strict=True)) if number not in in_place]
            expect(all(torch.equal(*pair) for pair in pairs), f"{name} overwrites the inputs")
        expect(isinstance(outputs, tuple) and len(outputs) == count, f"{name} must return a tuple of {count}")
        for out, output in zip(outputs, wanted, strict=True):
            words = f"{name} returns {output.name}"
            expect(tuple(out.shape) == output.shape, f"{words} of the shape {tuple(out.shape)}")
            expect(out.dtype == getattr(torch, output.dtype), f"{words} as {out.dtype}; it must be {output.dtype}")
            expect(bool(out.isfinite().all().item()), f"{words} with NaN or Inf on normal inputs")
    expect(worked > 0, f"no baseline for {device} works")
    for output, plain, values in zip(wanted, problem.plain(inputs), reference, strict=True):
        _check_bounds(problem, output, plain, values)
    unchanged = all(torch.equal(one, two) for one, two in zip(before, inputs, strict=True))
    expect(unchanged, "the reference or plain() overwrites the inputs")


def _check_mirror(problem: Problem, device: str) -> None:
    import torch

    inputs = problem.inputs(0, "normal", device)
    before = [tensor.clone() for tensor in inputs]
    plain = problem.plain(inputs)
    signs = problem.mirror(inputs)
    if not signs:
        return
    expect(len(signs) == len(plain) and set(signs) <= {-1, 1} and -1 in signs, f"mirror() returns {signs}")
    for output, sign, one, other in zip(problem.outputs(), signs, plain, problem.plain(inputs), strict=True):
        # PyTorch's rounding may depend on the sign, by far less than a wrong sign would show.
        close = torch.allclose(one.double() * sign, other.double(), rtol=0.05, atol=0.05 * one.double().std().item())
        expect(close, f"mirror() does not multiply {output.name} by {sign}")
    problem.mirror(inputs)
    restored = all(torch.equal(one, two) for one, two in zip(before, inputs, strict=True))
    expect(restored, "mirror() twice does not restore the inputs")


def _check_bounds(problem: Problem, output: Output, plain: torch.Tensor, reference: torch.Tensor) -> None:
    error = (plain.double() - reference).abs()
    largest, rms, mean = error.max().item(), error.square().mean().sqrt().item(), error.mean().item()
    bounds = problem.bounds(output, reference, largest, rms)
    met = largest <= bounds.max_error and rms <= bounds.rms_error and mean <= bounds.mean_error
    expect(met, f"the errors of plain() (max {largest:.3g}, rms {rms:.3g}, mean {mean:.3g}) are beyond {bounds}")
    scale = reference.square().mean().sqrt().item()
    expect(
        rms < DISAGREEMENT * scale, f"plain() and reference() differ by {rms / scale:.1%}: do they compute the same?"
    )
    expect(bounds.rms_error < scale, f"an output of zeros would pass: rms {scale:.3g} is within {bounds}")


def _check_arguments(problem: Problem, inputs: Inputs, outputs: Outputs) -> None:
    arguments = problem.arguments(inputs, outputs)
    fields = {name for name, *_ in arguments._fields_}
    is_complete = isinstance(arguments, ctypes.Structure) and "workspace" in fields
    expect(is_complete, "arguments() must return a Structure with a field `workspace`")
    pointers = set(_pointers(arguments))
    named = {f"input {number}": tensor for number, tensor in enumerate(inputs)}
    named |= {f"output {each.name}": tensor for each, tensor in zip(problem.outputs(), outputs, strict=True)}
    for where, tensor in named.items():
        expect(tensor.data_ptr() in pointers, f"arguments() does not point to {where}")


def _pointers(arguments: ctypes.Structure) -> Iterator[int | None]:
    """The pointers of a structure, and of those in it."""
    for name, kind, *_ in arguments._fields_:
        value = getattr(arguments, name)
        if kind is ctypes.c_void_p:
            yield value
        elif isinstance(value, ctypes.Structure):
            yield from _pointers(value)
