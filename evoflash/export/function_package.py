"""What a package has that is for a function: its skeletons, and what they read beside what all packages have."""

from __future__ import annotations

import ast
import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evoflash.errors import NoPackageError, UsageError
from evoflash.export.content import Content
from evoflash.export.sizes import Forms, forms
from evoflash.export.winner import Winner
from evoflash.problems import dtypes, function
from evoflash.problems.function import FunctionProblem, Number, Parameter, Signature, Sizes
from evoflash.problems.function.problem import ROUNDINGS

# Names in a package that a function's own would hide, or that its operators have.
RESERVED = {
    "Model", "Tensor", "calls", "explain", "info", "is_supported", "reference", "refusal", "selftest", "stats", "torch",
}  # fmt: skip
SCHEMA_TYPES = {"tensor": "Tensor", "float": "float", "int": "int", "bool": "bool", "text": "str"}
PYTHON_TYPES = {**SCHEMA_TYPES, "none": "Tensor | None"}
IS_INSTANCE = {**SCHEMA_TYPES, "float": "(float, int)", "none": "type(None)"}
CPP_TYPES = {"tensor": "const Tensor &", "float": "double ", "int": "int64_t ", "bool": "bool ", "text": "std::string "}
CPP_REFERENCES = {**CPP_TYPES, "text": "const std::string &"}
INDICES = ("int64", "int32")  # types of what a next call may look up
# PyTorch's numbers of the types, in its C interface (c10::ScalarType).
NUMBERS = {
    "uint8": 0, "int8": 1, "int16": 2, "int32": 3, "int64": 4, "float16": 5, "float32": 6, "float64": 7, "bool": 11,
    "bfloat16": 15, "float8_e5m2": 23, "float8_e4m3fn": 24,
}  # fmt: skip


def _problem(winner: Winner) -> FunctionProblem:
    assert isinstance(winner.problem, FunctionProblem)
    return winner.problem


def _document(winner: Winner) -> dict[str, Any]:
    """What the operator asks each kernel for."""
    return {
        "about": "Kernels in the order in which they are asked. A size is a number, a name, or (product of `of` * times"
        " + plus) // over. A range is [first, last]; null is no end. A number that is null may have any value.",
        "kernels": [_row(source, kernel) for source, kernel in winner.sources.items()],
    }


def _row(source: str, kernel: Winner) -> dict[str, Any]:
    signature, found = _problem(kernel).signature, _forms(kernel)
    tensors = zip((*signature.inputs, *signature.outputs), (*found.inputs, *found.outputs), strict=True)
    described = {each.name: {"dtype": each.dtype, "size": [one.document() for one in axes]} for each, axes in tensors}
    return {
        "name": _name(kernel),
        "source": source,
        "inputs": {each.name: described[each.name] for each in signature.inputs},
        "outputs": {each.name: described[each.name] for each in signature.outputs},
        "sizes": {name: [1, None] for name in found.names},
        "numbers": {each.name: None if _is_free(kernel, each) else each.value for each in signature.numbers},
        "texts": dict(signature.texts),
    }


def _name(kernel: Winner) -> str:
    return f"{kernel.family} {kernel.source_sha256[:8]}"


def _proven(kernel: Winner) -> list[tuple[Sizes, Signature]]:
    """The sizes at which the very kernel was right in the finals; the searched ones first."""
    found = []
    for problem in (_problem(kernel), *(each for each in kernel.beside if isinstance(each, FunctionProblem))):
        found.append((problem.sizes, problem.signature))
        for variant in problem.variants if kernel.constants is not None else ():
            passed = any(case == variant.name or case.endswith(f" {variant.name}") for case in kernel.cases)
            if passed and _has_constants(kernel, problem.at(variant)):
                found.append((variant.sizes, variant.signature))
    return found


def _has_constants(kernel: Winner, problem: FunctionProblem) -> bool:
    """Whether the kernel that was searched is that for a problem, too; otherwise another one was rendered."""
    own, others = kernel.problem.facts(), problem.facts()
    return all(own.get(name) == others.get(name) for name in kernel.constants or ())


def _forms(kernel: Winner) -> Forms:
    """The sizes of all tensors, by what the finals have shown."""
    first = _problem(kernel).signature
    alike = [(sizes, each) for sizes, each in _proven(kernel) if _kind(each) == _kind(first)]
    return forms([each for _, each in alike], [dict(sizes) for sizes, _ in alike])


def _kind(signature: Signature) -> list[Any]:
    tensors = (*signature.inputs, *signature.outputs)
    return [signature.texts, [(each.dtype, len(each.shape)) for each in tensors]]


def _is_free(kernel: Winner, number: Number) -> bool:
    """Whether a kernel takes other values of a number: it was right with several, or reads the struct's member.

    A switch may decide what is returned, and is fixed.
    """
    proven = {each.value for _, signature in _proven(kernel) for each in signature.numbers if each.name == number.name}
    if len(proven) > 1 or isinstance(number.value, bool):
        return len(proven) > 1
    if kernel.language == "python":  # a parameter of `launch`
        return any(
            isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load) and each.id == number.name
            for each in ast.walk(ast.parse(kernel.source))
        )
    return re.search(rf"(?:->|\.)\s*{number.name}\b", kernel.source) is not None


def _requires(winner: Winner) -> tuple[str, ...]:
    """The packages beside torch that Python kernels import, e.g. triton."""
    found: set[str] = set()
    for kernel in winner.sources.values():
        for each in ast.walk(ast.parse(kernel.source)) if kernel.language == "python" else ():
            if isinstance(each, ast.Import):
                found |= {name.name.partition(".")[0] for name in each.names}
            elif isinstance(each, ast.ImportFrom) and not each.level:
                found.add((each.module or "").partition(".")[0])
    return tuple(sorted(found - sys.stdlib_module_names - {"torch"}))


def _context(winner: Winner) -> dict[str, Any]:
    problem = _problem(winner)
    signature, interface = problem.signature, problem.interface
    modules = {source.partition(".")[0] for source in winner.sources} if winner.language == "python" else set[str]()
    if problem.name in RESERVED | modules or problem.name == winner.name:
        raise UsageError(f"the function's name {problem.name!r} is one of the package's own; rename the function")
    for kernel in winner.others:
        if _names(_problem(kernel).signature) != _names(signature) or _problem(kernel).source != problem.source:
            raise UsageError(f"{kernel.problem.label} is of another file or has other arguments; export it apart")
    own = {each.name for each in interface.parameters}
    numbers = {each.name: each for each in signature.numbers}
    arguments = [_argument(each) for each in interface.parameters]
    arguments += [_plain(name, "tensor") for name, _ in interface.state]
    arguments += [_plain(name, _kind_of(each), each.value) for name, each in numbers.items() if name not in own]
    arguments += [_plain(name, "text", text) for name, text in dict(signature.texts).items() if name not in own]
    passed = [each for each in arguments if each["kind"] != "none"]
    order = [each["name"] for each in passed if each["kind"] == "tensor"]
    if order != [each.name for each in signature.inputs]:
        raise NoPackageError(
            f"the record of {problem.label} does not say how {problem.name} is called; search it again, or see "
            "`evoflash show CANDIDATE --source`"
        )
    updated = {each.name for each in signature.updated}
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    for each in passed:
        if each["name"] in updated:
            each["schema"] = f"Tensor({next(letters)}!) {each['name']}"
    moves_indices = any(each.dtype in INDICES for each in signature.updated)
    is_python = winner.language == "python"
    return {
        "not_ours": ["_reference.py", *(winner.sources if is_python else ())],
        "requires": _requires(winner),
        "computes": problem.summary.rstrip(".") or problem.name,
        "call": problem.name,
        "summary": problem.summary or f"{problem.name}.",
        "interface": interface,
        "signature": signature,
        "arguments": arguments,
        "passed": passed,
        "numbers": [each for each in passed if each["kind"] in ("float", "int", "bool")],
        "texts": [each for each in passed if each["kind"] == "text"],
        "parameters": ", ".join(_in_python(each) for each in arguments),
        "defaults": tuple(each["default"] for each in passed if each["schema_default"]),
        "whole": "arguments" if len(passed) == len(arguments) else "completed(arguments)",
        "places": {each["name"]: place for place, each in enumerate(arguments)},
        "types": IS_INSTANCE,
        "are_none": tuple(each["kind"] == "none" for each in arguments),
        "public": sorted(
            [problem.name, "explain", "info", "is_supported", "stats", *(["Model"] if interface.is_module else [])]
        ),
        "annotation": _annotation(problem),
        "returns": "Tensor" if len(signature.outputs) == 1 else f"({', '.join(['Tensor'] * len(signature.outputs))})",
        "returned": {0: "None", 1: "outputs[0]"}.get(len(signature.outputs), "tuple(outputs)"),
        "updated": signature.updated,
        "updated_places": tuple(place for place, each in enumerate(passed) if each["name"] in updated),
        "updated_arguments": tuple(place for place, each in enumerate(arguments) if each["name"] in updated),
        "most_calls": 1 if moves_indices else 60 if updated or winner.target == "cuda" else 1000,
        "constants": {
            name: value for name, value in dict(problem.sizes).items() if interface.is_module and type(value) is int
        },
        "made_with_values": {
            each["name"]: each["default"] for each in arguments if each["name"] not in own and each["kind"] != "tensor"
        },
        "numbers_of_dtypes": NUMBERS,
        "rival": "eager",
        "file": problem.file,
        "sizes": dict(problem.sizes),
        "proven": _distinct([dict(sizes) for sizes, _ in _proven(winner)]),
        "tolerance": dict(problem.tolerance),
        "unit_roundoff": dtypes.UNIT_ROUNDOFF,
        "roundings": ROUNDINGS,
        "takes_one_by_one": _takes(winner),
        "takes": {source: "; ".join(_takes(kernel)) for source, kernel in winner.sources.items()},
        "again": ",".join(f"{name}={value}" for name, value in problem.sizes),
    }


def _in_python(argument: Mapping[str, Any]) -> str:
    """An argument as a parameter."""
    default = f" = {argument['default']!r}" if argument["optional"] else ""
    return f"{argument['name']}: {argument['type']}{default}"


def _annotation(problem: FunctionProblem) -> str:
    """What the function returns, as an annotation."""
    many = ", ".join(["Tensor"] * len(problem.signature.outputs))
    known = {"none": "None", "tensor": "Tensor", "tuple": f"tuple[{many}]", "list": "list[Tensor]"}
    return known.get(problem.interface.returns, f'"_reference.{problem.interface.returns}"')


def _names(signature: Signature) -> list[list[str]]:
    groups = (signature.inputs, signature.outputs, signature.numbers, signature.updated)
    return [[each.name for each in group] for group in groups]


def _argument(parameter: Parameter) -> dict[str, Any]:
    made = _plain(parameter.name, parameter.kind)
    if parameter.is_optional:
        made |= {"optional": True, "default": parameter.default, "schema_default": _default(parameter)}
    return made


def _default(parameter: Parameter) -> str:
    """A default in a schema, where it can be written."""
    value = parameter.default
    if parameter.kind == "text":
        return f"={json.dumps(value)}"
    is_plain = isinstance(value, bool | int | float) and math.isfinite(value)
    return f"={value!r}" if is_plain else ""


def _plain(name: str, kind: str, value: Any = None) -> dict[str, Any]:
    """An argument; with a value it has that as its default. None is no argument of the operator."""
    made = {"name": name, "kind": kind, "type": PYTHON_TYPES[kind], "optional": value is not None, "default": value}
    made["schema_default"] = ""
    if kind == "none":
        return {**made, "schema": ""}
    own = f"{name}_"  # nothing else in binding.cpp is called so
    cpp = {"cpp": CPP_TYPES[kind] + own, "cpp_reference": CPP_REFERENCES[kind] + own}
    return {**made, **cpp, "cpp_name": own, "schema": f"{SCHEMA_TYPES[kind]} {name}"}


def _kind_of(number: Number) -> str:
    return {bool: "bool", int: "int", float: "float"}[type(number.value)]


def _distinct(each: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for place, one in enumerate(each) if one not in each[:place]]


def _takes(kernel: Winner) -> list[str]:
    """The sizes that a kernel is asked for, in words."""
    signature, found = _problem(kernel).signature, _forms(kernel)
    shapes = [
        f"{each.name} {each.dtype} ({', '.join(map(str, axes))}{',' if len(axes) == 1 else ''})"
        for each, axes in zip(signature.inputs, found.inputs, strict=True)
    ]
    numbers = [f"{each.name}={each.value!r}" for each in signature.numbers if not _is_free(kernel, each)]
    return [*shapes, *numbers, *(f"{name}={text!r}" for name, text in dict(signature.texts).items())]


def _verbatim(winner: Winner) -> Mapping[str, str]:
    """The user's own file, and how it is computed in float64."""
    in_double = Path(function.__file__).with_name("in_double.py")  # not imported: it is PyTorch's
    return {"_in_double.py": in_double.read_text(encoding="utf-8"), "_reference.py": _problem(winner).source}


SKELETONS = {
    "README.md": "function/README.md.j2",
    "{name}/__init__.py": "function/init.py.j2",
    "{name}/_operators.py": "function/operators.py.j2",
    "{name}/_table.py": "function/table.py.j2",
    "{name}/selftest.py": "function/selftest.py.j2",
    "{name}/calls.py": "function/calls.py.j2",
    "tests/test_against_reference.py": "function/test_against_reference.py.j2",
}
CONTENT = Content(
    skeletons={**SKELETONS, "{name}/_kernels.py": "function/kernels.py.j2"},
    headers=("pytorch.h", "arguments.h", "launch.h", "rows.h", "eager.h", "function/table.h", "function/direct.h"),
    binding="function/binding.cpp.j2",
    table=_document,
    context=_context,
    plain="eager",
    yardstick="eager",
    verbatim=_verbatim,
    verbatim_names=("_in_double.py", "_reference.py"),
)
PYTHON_CONTENT = replace(
    CONTENT,
    skeletons={**SKELETONS, "{name}/_kernels.py": "function/python_kernels.py.j2"},
    headers=(),
    binding=None,
)
