"""The launcher's arguments: the struct of the generated header, by ctypes."""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING

from evoflash.problems.base import Inputs, Outputs
from evoflash.problems.function.signature import MAX_RANK, Signature

if TYPE_CHECKING:
    import torch

# The values of EvoflashDtype.
CODES = {
    "float64": 0, "float32": 1, "float16": 2, "bfloat16": 3, "float8_e4m3fn": 4, "float8_e5m2": 5,
    "int64": 6, "int32": 7, "int16": 8, "int8": 9, "uint8": 10, "bool": 11,
}  # fmt: skip

Extents = ctypes.c_int64 * MAX_RANK


class EvoflashTensor(ctypes.Structure):
    """`EvoflashTensor` of evoflash.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("size", Extents),
        ("stride", Extents),
    )


def arguments(signature: Signature, inputs: Inputs, outputs: Outputs) -> ctypes.Structure:
    """The struct for these tensors, without a workspace."""
    tensors = tuple(each.name for each in (*signature.inputs, *signature.outputs))
    numbers = {each.name: each.value for each in signature.numbers}
    made = _structure(tensors, tuple((name, isinstance(value, float)) for name, value in numbers.items()))
    values = (value if isinstance(value, float) else int(value) for value in numbers.values())
    return made(*map(_tensor, (*inputs, *outputs)), *values, None)


@functools.cache
def _structure(tensors: tuple[str, ...], numbers: tuple[tuple[str, bool], ...]) -> type[ctypes.Structure]:
    """The struct by its names; a number is a double or not."""
    fields: list[tuple[str, type]] = [(name, EvoflashTensor) for name in tensors]
    fields += [(name, ctypes.c_double if is_double else ctypes.c_int64) for name, is_double in numbers]
    return type("Arguments", (ctypes.Structure,), {"_fields_": (*fields, ("workspace", ctypes.c_void_p))})


def _tensor(tensor: torch.Tensor) -> EvoflashTensor:
    dtype = CODES[str(tensor.dtype).removeprefix("torch.")]
    return EvoflashTensor(tensor.data_ptr(), dtype, tensor.dim(), Extents(*tensor.shape), Extents(*tensor.stride()))
