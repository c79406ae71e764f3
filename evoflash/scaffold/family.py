"""A new family of kernels for a problem: a naive kernel, a space of two parameters, and a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evoflash.problems import FunctionProblem
from evoflash.problems.function.signature import Tensor
from evoflash.scaffold.files import render, require_free, require_name, write
from evoflash.scaffold.problem import is_as_written

KERNELS = {"cpu": "kernel.cpp.j2", "cuda": "kernel.cu.j2"}
MARK = "Your computation"  # in the comment that stands where it goes

# Types in C. Those of 16 and 8 bits are classes on a GPU (numeric_types.cuh), and bits on a CPU.
C_TYPES = {
    "float64": "double", "float32": "float", "int64": "int64_t", "int32": "int32_t", "int16": "int16_t",
    "int8": "int8_t", "uint8": "uint8_t", "bool": "bool",
}  # fmt: skip
DEVICE_TYPES = {
    "float16": "evoflash::Half", "bfloat16": "evoflash::Bfloat16", "int16": "short", "int8": "signed char",
    "uint8": "unsigned char",
}  # fmt: skip
HOST_TYPES = {"float16": "uint16_t", "bfloat16": "uint16_t", "float8_e4m3fn": "uint8_t", "float8_e5m2": "uint8_t"}


@dataclass(frozen=True)
class FamilyFiles:
    """What was written.

    Attributes:
        paths: the kernel first.
        computation: the line of the kernel where the user's computation goes; None when it computes the problem.
    """

    paths: tuple[Path, ...]
    computation: int | None


def write_family(
    name: str, problem: FunctionProblem, asked: str, target: Literal["cpu", "cuda"], folder: Path
) -> FamilyFiles:
    """Writes the files of a family.

    Args:
        asked: what a command is given as --problem in the folder, to find the problem again.
        folder: is given to commands as --templates afterwards.

    Raises:
        UsageError: for a name that cannot be one, and a file that exists.
    """
    paths = family_paths(name, target, folder)
    signature = problem.signature
    types = {**C_TYPES, **(HOST_TYPES if target == "cpu" else DEVICE_TYPES)}
    tensors = [*signature.inputs, *signature.outputs]
    values = {
        "family": name,
        "problem": problem.name,
        "asked": asked,
        "target": target,
        "source": KERNELS[target],
        "header": problem.c_interface.header,
        "struct": problem.c_interface.struct,
        "inputs": signature.inputs,
        "outputs": signature.results,
        "numbers": signature.numbers,
        "tensors": tensors,
        "codes": {each.name: _code(each) for each in tensors},
        "types": {each.name: types.get(each.dtype, "unsigned char") for each in tensors},
        "is_known": is_as_written(problem.name, problem.source) and _are_floats(tensors),
        "mark": MARK,
    }
    kernel, *_ = paths
    skeletons = (f"{KERNELS[target]}.j2", "template.yaml.j2", f"space_{target}.yaml.j2", "test_family.py.j2")
    files = {path: render(skeleton, **values) for path, skeleton in zip(paths, skeletons, strict=True)}
    write(files)
    lines = [number for number, line in enumerate(files[kernel].splitlines(), 1) if MARK in line]
    return FamilyFiles(paths, lines[0] if lines else None)


def family_paths(name: str, target: str, folder: Path) -> tuple[Path, ...]:
    """The files of a new family: its kernel, manifest, space and test.

    Raises:
        UsageError: for a name that cannot be one, and a file that exists.
    """
    require_name("family", name)
    home = folder / "templates" / name
    paths = (
        home / KERNELS[target],
        home / "template.yaml",
        folder / "search_spaces" / f"{name}.yaml",
        folder / "tests" / f"test_{name}.py",
    )
    require_free(paths)
    return paths


def _are_floats(tensors: list[Tensor]) -> bool:
    return all(each.dtype == "float32" for each in tensors)


def _code(tensor: Tensor) -> str:
    return f"EVOFLASH_{tensor.dtype.removesuffix('fn').upper()}"
