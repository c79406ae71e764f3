"""What the driver must know of a function, found out by running it in a worker."""

from __future__ import annotations

import math
import random
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evoflash.problems.base import Outputs
from evoflash.problems.function.flops import FlopCounter
from evoflash.problems.function.problem import FunctionProblem, Variant
from evoflash.problems.function.program import ProblemError, Program
from evoflash.problems.function.signature import (
    DTYPE_BYTES,
    MAX_RANK,
    Interface,
    Number,
    Signature,
    Size,
    Tensor,
)
from evoflash.problems.function.words import C_WORDS, RESERVED

FRESH = 8  # sizes that are drawn from what the file lets vary
FIRST_SEED, SECOND_SEED = 0, 1
MESSAGE_LENGTH = 300  # of what an exception says
LAYOUTS = ("contiguous", "strided", "unaligned")


def describe(file: str, source: str, sizes: Mapping[str, Size], device: str) -> FunctionProblem:
    """The problem of a file at some sizes; what is not given has the file's own value.

    The function is run twice on the device where kernels will be searched, and once in float64.

    Raises:
        ProblemError: when it cannot be searched; the message says why.
    """
    try:
        return _described(file, source, sizes, device)
    except ProblemError:
        raise
    except torch.OutOfMemoryError:
        raise ProblemError(f"{file}: there is no memory for these sizes; choose smaller ones by --shape") from None
    except SyntaxError as error:
        raise ProblemError(f"{file}:{error.lineno}: {error.msg}; mend the file") from None
    except (Exception, SystemExit) as error:  # whatever the file's code raises
        said = _said(error, file)
        if not torch.cuda.is_available() and ("CUDA" in said or "NVIDIA" in said):
            raise ProblemError(
                f"{file}{said}; there is no GPU here: make tensors on the CPU, evoflash moves them to the device"
            ) from None
        raise ProblemError(f"{file}{said}; mend the file, or choose other sizes by --shape") from None


def _described(file: str, source: str, sizes: Mapping[str, Size], device: str) -> FunctionProblem:
    program = Program.of(file, source)
    _require_name(program)
    own = _own(program, sizes)
    signature, counted, interface = _signature(program, own, device)
    tolerance, layouts = _tolerance(program, signature), _layouts(program)
    others = [_variant(program, own, each, "cases") for each in _stated(program)]
    others += [_variant(program, own, each, "vary") for each in _fresh(program, own)]
    problem = FunctionProblem(
        name=program.name,
        file=file,
        source=source,
        summary=(program.names.get("__doc__") or "").strip().partition("\n")[0],
        sizes=tuple(own.items()),
        signature=signature,
        interface=interface,
        counted_flops=_flops(program, own, counted, signature),
        tolerance=tolerance,
        layouts=layouts,
        variants=tuple(dict.fromkeys(others)),
    )
    _require_reference(problem, device)
    return problem


def _said(error: BaseException, file: str) -> str:
    """The last line of the file that the error passed, and what it says: ":12: ValueError: no such size"."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    words = str(error).strip().partition("\n")[0][:MESSAGE_LENGTH]
    return f"{f':{lines[-1]}' if lines else ''}: {type(error).__name__}{f': {words}' if words else ''}"


def _own(program: Program, sizes: Mapping[str, Size]) -> dict[str, Size]:
    """All sizes, as the file has them or as given.

    Raises:
        ProblemError: for a name that the file has not, or a value of another type.
    """
    return {**program.sizes, **_known(program, sizes, "--shape")}


def _known(program: Program, sizes: Mapping[str, Any], where: str) -> dict[str, Size]:
    known: dict[str, Size] = {}
    for name, value in sizes.items():
        if name not in program.sizes:
            listed = ", ".join(program.sizes) or "none"
            raise ProblemError(f"{program.file}: {where}: there is no size {name!r}; it has {listed}")
        known[name] = _as(type(program.sizes[name]), value, f"{program.file}: {where}: {name}")
    return known


def _as(kind: type, value: Any, where: str) -> Size:
    try:
        if kind is bool and isinstance(value, str):
            return {"true": True, "1": True, "": True, "false": False, "0": False}[value.lower()]
        return kind(value)
    except (KeyError, ValueError, TypeError):
        raise ProblemError(f"{where} is {value!r}; write a value of type {kind.__name__}") from None


def _signature(program: Program, sizes: Mapping[str, Size], device: str) -> tuple[Signature, int, Interface]:
    """The signature at these sizes, the operations that PyTorch counts, and how the function is called.

    Raises:
        ProblemError: when two runs differ, or the inputs of two seeds do in shape or type.
    """
    pairs = tuple(sizes.items())
    arguments, again = (program.arguments(pairs, seed, device) for seed in (FIRST_SEED, SECOND_SEED))
    if _forms(arguments.tensors) != _forms(again.tensors):
        raise ProblemError(
            f"{program.file}: get_inputs returns other shapes or types under another seed; draw values alone"
        )
    for name, tensor in arguments.tensors.items():
        _require_taken(program, name, tensor)
    inputs = tuple(each.to(device) for each in arguments.tensors.values())
    before = [each.clone() for each in inputs]
    function = program.function(pairs)
    with torch.no_grad(), FlopCounter() as counter:
        answer = function(*inputs)
    first = tuple(each.clone() for each in program.outputs_of(answer))
    for name, old, new in zip(arguments.tensors, before, inputs, strict=True):
        if program.is_module and name in arguments.state:
            new.copy_(old)
        elif not torch.equal(_bits(old), _bits(new)):
            raise ProblemError(f"{program.file}: the function changes {name} in place; return a new tensor instead")
    second = program.call(pairs, inputs)
    _require_same(program, first, second)
    names = program.output_names(answer)
    outputs = [_tensor(name, each) for name, each in zip(names, first, strict=True)]
    for output in outputs:
        _require_taken(program, output.name, first[names.index(output.name)])
    values = program.numbers(pairs, arguments)
    signature = Signature(
        inputs=tuple(_tensor(name, each) for name, each in arguments.tensors.items()),
        outputs=tuple(outputs),
        numbers=tuple(Number(name=name, value=each) for name, each in values.items() if not isinstance(each, str)),
        texts=tuple((name, each) for name, each in values.items() if isinstance(each, str)),
    )
    _require_names(program, signature)
    return signature, counter.total, program.interface(pairs, answer)


def _require_same(program: Program, first: Outputs, second: Outputs) -> None:
    forms = [[(tuple(each.shape), each.dtype) for each in outputs] for outputs in (first, second)]
    if forms[0] != forms[1]:
        raise ProblemError(
            f"{program.file}: two calls on the same inputs return other shapes or types; mend the function"
        )
    if not all(torch.equal(_bits(one), _bits(other)) for one, other in zip(first, second, strict=True)):
        raise ProblemError(
            f"{program.file}: two calls on the same inputs differ, so nothing can be compared with the function; draw "
            "random numbers in get_inputs, pass a seed as an argument, set a module's dropout to 0"
        )


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    widths = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(widths[tensor.element_size()])


def _require_reference(problem: FunctionProblem, device: str) -> None:
    """Raises ProblemError when the function fails in float64, or has other shapes there."""
    inputs = problem.inputs(FIRST_SEED, "normal", device)
    try:
        reference = problem.reference(inputs)
    except Exception as error:  # whatever an operation says that float64 does not have
        raise ProblemError(
            f"{problem.file}{_said(error, problem.file)}; this is the function in float64, with which kernels are "
            "compared: use operations that have it"
        ) from None
    for output, values in zip(problem.signature.outputs, reference, strict=True):
        if tuple(values.shape) != output.shape:
            raise ProblemError(
                f"{problem.file}: in float64 {output.name} has the shape {tuple(values.shape)}, not {output.shape}; "
                "let shapes follow from shapes alone"
            )


def _require_taken(program: Program, name: str, tensor: torch.Tensor) -> None:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPE_BYTES:
        raise ProblemError(f"{program.file}: {name} is of {dtype}; kernels take {', '.join(DTYPE_BYTES)}")
    if tensor.dim() > MAX_RANK:
        raise ProblemError(f"{program.file}: {name} has {tensor.dim()} dimensions; kernels take up to {MAX_RANK}")
    if not tensor.numel():
        raise ProblemError(f"{program.file}: {name} has no elements; choose other sizes")


def _require_name(program: Program) -> None:
    if program.name in RESERVED:
        raise ProblemError(
            f"{program.file}: a problem cannot be called {program.name}, since {program.name}.h is another header; "
            "rename the function and the file"
        )


def _require_names(program: Program, signature: Signature) -> None:
    names = [each.name for each in (*signature.inputs, *signature.outputs, *signature.numbers)]
    for name in names:
        if name in C_WORDS or not name.isidentifier() or not name.isascii():
            raise ProblemError(f"{program.file}: {name!r} cannot be a name in C; rename it")
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise ProblemError(f"{program.file}: {doubled[0]!r} names two things, inputs or outputs; rename one")


def _tensor(name: str, tensor: torch.Tensor) -> Tensor:
    return Tensor(name=name, dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(tensor.shape))


def _forms(tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    return [(name, tuple(each.shape), each.dtype) for name, each in tensors.items()]


def _flops(program: Program, sizes: Mapping[str, Size], counted: int, signature: Signature) -> int:
    """The file's own figure, or PyTorch's, which counts products of matrices only; else one for each output element."""
    stated: Any = program.names.get("flops")
    if stated is None:
        return max(counted, sum(each.bytes // DTYPE_BYTES[each.dtype] for each in signature.outputs), 1)
    if not callable(stated):
        raise ProblemError(
            f"{program.file}: flops is no function; write one of sizes, such as def flops(rows, columns)"
        )
    figure = stated(**{name: sizes[name] for name in program.parameters_of(stated)})
    if not isinstance(figure, int | float) or not 0 < figure < math.inf:
        raise ProblemError(f"{program.file}: flops returns {figure!r}; return a positive number of operations")
    return max(1, int(figure))


def _tolerance(program: Program, signature: Signature) -> tuple[tuple[str, float], ...]:
    stated = program.names.get("tolerance", {})
    if not isinstance(stated, Mapping):
        stated = {each.name: stated for each in signature.outputs}
    known = [each.name for each in signature.outputs]
    for name, allowed in stated.items():
        if name not in known:
            raise ProblemError(f"{program.file}: tolerance names {name!r}; the outputs are {', '.join(known)}")
        if isinstance(allowed, bool) or not isinstance(allowed, int | float) or not 0 <= allowed < math.inf:
            raise ProblemError(
                f"{program.file}: tolerance of {name} is {allowed!r}; write the absolute error that is allowed"
            )
    return tuple((name, float(allowed)) for name, allowed in stated.items())


def _layouts(program: Program) -> tuple[str, ...]:
    stated = program.names.get("layouts", LAYOUTS)
    if not isinstance(stated, list | tuple) or any(each not in LAYOUTS for each in stated):
        raise ProblemError(f"{program.file}: layouts is {stated!r}; write a tuple of some of {', '.join(LAYOUTS)}")
    return tuple(stated)


def _stated(program: Program) -> Sequence[Mapping[str, Any]]:
    stated = program.names.get("cases", ())
    if not isinstance(stated, list | tuple) or not all(isinstance(each, Mapping) for each in stated):
        raise ProblemError(f"{program.file}: cases is no list of sizes; write dicts, such as [{{'rows': 16}}]")
    return stated


def _fresh(program: Program, own: Mapping[str, Size]) -> list[Mapping[str, Any]]:
    """Sizes from what the file lets vary: the first draw by a fixed seed, so that a run and its repetition agree."""
    ranges = program.names.get("vary", {})
    allowed = (range, list, tuple)
    if not isinstance(ranges, Mapping) or not all(isinstance(each, allowed) and each for each in ranges.values()):
        raise ProblemError(
            f"{program.file}: vary is no dict of ranges or lists of sizes; write one, such as {{'rows': range(1, 300)}}"
        )
    rng = random.Random(0)
    found: list[Mapping[str, Any]] = []
    for _ in range(FRESH if ranges else 0):
        drawn = {name: rng.choice(values) for name, values in ranges.items()}
        if drawn not in found and {**own, **drawn} != own:
            found.append(drawn)
    return found


def _variant(program: Program, own: Mapping[str, Size], changes: Mapping[str, Any], where: str) -> Variant:
    """The function at other sizes, which `where` names: cases or vary."""
    sizes = {**own, **_known(program, changes, where)}
    words = ", ".join(f"{name}={value}" for name, value in changes.items())
    try:
        signature, counted, _ = _signature(program, sizes, "cpu")
    except ProblemError as error:
        raise ProblemError(f"{error}; this is at {words}: change {where}") from None
    except Exception as error:  # whatever the file's code raises
        said = _said(error, program.file)
        raise ProblemError(f"{program.file}{said}; this is at {words}: change {where}, or mend the file") from None
    flops = _flops(program, sizes, counted, signature)
    return Variant(sizes=tuple(sizes.items()), signature=signature, flops=flops, is_stated=where == "cases")
