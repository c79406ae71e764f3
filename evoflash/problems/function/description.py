"""What the driver must know of a function, found out by running it in a worker."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from typing import Any

import torch

from evoflash.problems import dtypes
from evoflash.problems.base import Outputs
from evoflash.problems.c_interface import MAX_RANK
from evoflash.problems.c_interface.words import C_WORDS, RESERVED
from evoflash.problems.function import statements
from evoflash.problems.function.flops import FlopCounter
from evoflash.problems.function.problem import FunctionProblem, Variant
from evoflash.problems.function.program import Program
from evoflash.problems.function.signature import (
    MOST_VALUES,
    Interface,
    Number,
    Signature,
    Size,
    Tensor,
)
from evoflash.problems.function.source_file import ProblemError
from evoflash.system.memory import CPU_ALLOCATOR

FIRST_SEED, SECOND_SEED = 0, 1
MESSAGE_LENGTH = 300  # of what an exception says


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
    except SyntaxError as error:
        raise ProblemError(f"{file}:{error.lineno}: {error.msg}; mend the file") from None
    except (Exception, SystemExit) as error:  # whatever the file's code raises
        said = _said(error, file)
        if _is_shortage(error):
            raise ProblemError(
                f"{file}: there is no memory for these sizes{_asked_for(error)}; choose smaller ones by --shape"
            ) from None
        if not torch.cuda.is_available() and ("CUDA" in said or "NVIDIA" in said):
            raise ProblemError(
                f"{file}{said}; there is no GPU here: make tensors on the CPU, evoflash moves them to the device"
            ) from None
        raise ProblemError(f"{file}{said}; mend the file, or choose other sizes by --shape") from None


def _is_shortage(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in CPU_ALLOCATOR
    )


def _asked_for(error: BaseException) -> str:
    """The size of the tensor that has no room, in brackets; empty where PyTorch does not give it."""
    found = re.search(r"[Tt]ried to allocate ([\d.]+ ?\w+)", str(error))
    return f" (a tensor of {found[1]})" if found else ""


def _described(file: str, source: str, sizes: Mapping[str, Size], device: str) -> FunctionProblem:
    program = Program.of(file, source)
    _require_name(program)
    own = _own(program, sizes)
    signature, counted, interface = _signature(program, own, device)
    for each in signature.updated:
        if not each.changed:
            raise ProblemError(
                f"{file}: mutates names {each.name}, which a call leaves as it was; leave it out, or update it in place"
            )
    tolerance, layouts = statements.tolerance(program, signature), statements.layouts(program)
    others = [_variant(program, own, each, "cases") for each in statements.cases(program)]
    others += [_variant(program, own, each, "vary") for each in statements.fresh(program, own)]
    problem = FunctionProblem(
        name=program.name,
        file=file,
        source=source,
        summary=(program.names.get("__doc__") or "").strip().partition("\n")[0],
        sizes=tuple(own.items()),
        signature=signature,
        interface=interface,
        counted_flops=statements.flops(program, own, counted, signature),
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
    return {**program.sizes, **statements.known(program, sizes, "--shape")}


def _signature(program: Program, sizes: Mapping[str, Size], device: str) -> tuple[Signature, int, Interface]:
    """The signature at these sizes, the operations that PyTorch counts, and how the function is called.

    Raises:
        ProblemError: when two runs differ, or the inputs of two seeds do in shape or type.
    """
    computation = program.at(tuple(sizes.items()))
    arguments, again = (computation.arguments(seed, device) for seed in (FIRST_SEED, SECOND_SEED))
    if _forms(arguments.tensors) != _forms(again.tensors):
        raise ProblemError(
            f"{program.file}: get_inputs returns other shapes or types under another seed; draw values alone"
        )
    for name, tensor in arguments.tensors.items():
        _require_taken(program, name, tensor)
    _require_known(program, arguments.tensors)
    inputs = tuple(each.to(device) for each in arguments.tensors.values())
    copies = tuple(each.clone() for each in inputs)
    with torch.no_grad(), FlopCounter() as counter:
        answer = computation.function(*copies)
    first = tuple(each.clone() for each in computation.outputs_of(answer))
    changed: dict[str, int] = {}
    for name, old, new in zip(arguments.tensors, inputs, copies, strict=True):
        count = int((_bits(old) != _bits(new)).sum().item())
        if name in program.mutates:
            changed[name] = count
            _require_apart(program, name, new, computation.outputs_of(answer))
        elif count and not (program.is_module and name in arguments.state):
            raise ProblemError(
                f"{program.file}: the function changes {name} in place; return a new tensor instead, or declare it: "
                f'mutates = ("{name}",)'
            )
    second = computation.call(inputs)
    _require_same(program, (*first, *(copies[number] for number in computation.updates)), second)
    names = computation.output_names(answer)
    outputs = [_tensor(name, each) for name, each in zip(names, first, strict=True)]
    for output in outputs:
        _require_taken(program, output.name, first[names.index(output.name)])
    values = computation.numbers(arguments)
    signature = Signature(
        inputs=tuple(_input(name, each, changed.get(name)) for name, each in arguments.tensors.items()),
        outputs=tuple(outputs),
        numbers=tuple(Number(name=name, value=each) for name, each in values.items() if not isinstance(each, str)),
        texts=tuple((name, each) for name, each in values.items() if isinstance(each, str)),
    )
    _require_names(program, signature)
    return signature, counter.total, computation.interface(answer)


def _require_known(program: Program, tensors: Mapping[str, torch.Tensor]) -> None:
    for name in program.mutates:
        if name not in tensors:
            raise ProblemError(f"{program.file}: mutates names {name!r}; the tensors are {', '.join(tensors)}")


def _require_apart(program: Program, name: str, tensor: torch.Tensor, outputs: Outputs) -> None:
    """Raises ProblemError when an output is in the memory of what is updated: one value would be two."""
    for output in outputs:
        if output.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr():
            raise ProblemError(
                f"{program.file}: the function returns {name}, which it updates in place; return None, or the other "
                "outputs alone: what is updated is an output by its own name"
            )


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
    for output, values in zip(problem.signature.results, reference, strict=True):
        if tuple(values.shape) != output.shape:
            raise ProblemError(
                f"{problem.file}: in float64 {output.name} has the shape {tuple(values.shape)}, not {output.shape}; "
                "let shapes follow from shapes alone"
            )


def _require_taken(program: Program, name: str, tensor: torch.Tensor) -> None:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in dtypes.BYTES:
        raise ProblemError(f"{program.file}: {name} is of {dtype}; kernels take {', '.join(dtypes.BYTES)}")
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


def _input(name: str, tensor: torch.Tensor, changed: int | None) -> Tensor:
    """With the first of its values, if they may be indices."""
    made = _tensor(name, tensor).model_copy(update={"changed": changed})
    if tensor.is_floating_point():
        return made
    values = tuple(int(each) for each in tensor.flatten()[:MOST_VALUES].tolist())
    return made.model_copy(update={"values": values})


def _forms(tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    return [(name, tuple(each.shape), each.dtype) for name, each in tensors.items()]


def _variant(program: Program, own: Mapping[str, Size], changes: Mapping[str, Any], where: str) -> Variant:
    """The function at other sizes, which `where` names: cases or vary."""
    sizes = {**own, **statements.known(program, changes, where)}
    words = ", ".join(f"{name}={value}" for name, value in changes.items())
    try:
        signature, counted, _ = _signature(program, sizes, "cpu")
    except ProblemError as error:
        raise ProblemError(f"{error}; this is at {words}: change {where}") from None
    except Exception as error:  # whatever the file's code raises
        said = _said(error, program.file)
        raise ProblemError(f"{program.file}{said}; this is at {words}: change {where}, or mend the file") from None
    flops = statements.flops(program, sizes, counted, signature)
    return Variant(sizes=tuple(sizes.items()), signature=signature, flops=flops, is_stated=where == "cases")
