"""The format "kernelbench": one file with `Model`, `ModelNew` and their inputs, as KernelBench's problems have them."""

from __future__ import annotations

import ast
import re
from typing import Any

from evoflash.errors import UsageError
from evoflash.export.formats import skeletons
from evoflash.export.winner import Winner
from evoflash.problems.c_interface.arguments import CODES
from evoflash.problems.function import FunctionProblem
from evoflash.problems.function.source_file import with_numbers

OWN_NAMES = (
    "DEVICE", "UNSUPPORTED", "SOURCE_NAME", "SOURCE", "FLAGS", "INSTALL", "ModelNew", "ctypes", "functools", "os",
    "shlex", "shutil", "subprocess", "tempfile", "Path",
)  # fmt: skip


def files(winner: Winner) -> dict[str, str]:
    """model_new.py, with the kernel's source in it.

    Raises:
        UsageError: when Python has no raw string for the source, or a function updates its arguments or has names of
            this file's own.
    """
    literal = raw_literal(winner.source)
    if isinstance(winner.problem, FunctionProblem):
        own = _of_function(winner.problem)
        text = skeletons.render_any("kernelbench/model_new_of_function.py.j2", winner, source_literal=literal, **own)
    else:
        text = skeletons.render("kernelbench/model_new.py.j2", winner, source_literal=literal)
    return {"model_new.py": text}


def _of_function(problem: FunctionProblem) -> dict[str, Any]:
    """What the skeleton for functions reads."""
    signature, interface = problem.signature, problem.interface
    if signature.updated:
        raise UsageError(f"KernelBench's models return what they compute; {problem.name} updates its arguments: export "
                         "it as a package")  # fmt: skip
    taken = [name for name in OWN_NAMES if re.search(rf"^(?:def|class) {name}\b|^{name}\s*[:=]", problem.source, re.M)]
    if taken:
        raise UsageError(f"{problem.file} has a name {taken[0]}, which model_new.py needs for itself; rename it")
    values = {each.name: each.value for each in signature.numbers} | dict(signature.texts)
    parameters = [
        {"name": each.name, "is_tensor": each.kind == "tensor", "value": values.get(each.name)}
        for each in interface.parameters
    ]
    returned = {"none": "None", "tensor": "outputs[0]", "tuple": "tuple(outputs)", "list": "outputs"}
    sizes, chosen = dict(problem.sizes), _parameters_of_inputs(problem.source)
    return {
        "reference": (with_numbers(problem.source, sizes) if interface.is_module else problem.source).rstrip(),
        "file": problem.file,
        "call": problem.name,
        "interface": interface,
        "signature": signature,
        "sizes": {name: value for name, value in sizes.items() if name in chosen},
        "parameters": parameters,
        "defaults": {each.name: each.default for each in interface.parameters if each.is_optional},
        "numbers": {each.name: each.value for each in signature.numbers},
        "state": tuple(key for _, key in interface.state),
        "codes": CODES,
        "returned": returned.get(interface.returns, f"{interface.returns}(*outputs)"),
    }


def _parameters_of_inputs(source: str) -> set[str]:
    """The parameters of the file's `get_inputs`."""
    found = (each for each in ast.parse(source).body if isinstance(each, ast.FunctionDef) and each.name == "get_inputs")
    return {argument.arg for each in found for argument in (*each.args.args, *each.args.kwonlyargs)}


def raw_literal(text: str) -> str:
    """A raw string of Python with a text on lines of its own, so that it is read as it was written.

    Raises:
        UsageError: when the text has what no raw string can have.
    """
    for quotes in ('"""', "'''"):
        # A raw string cannot end in a backslash, and a quote at the end would be one of the closing three.
        if quotes not in text and not text.endswith(("\\", quotes[0])) and "\r" not in text:
            return f"r{quotes}{text}{quotes}"
    raise UsageError("the source has triple quotes of both kinds or carriage returns; export it as a package")
