"""The launcher's arguments: the struct of the generated header, by ctypes."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evoflash.problems.c_interface.declaration import MAX_RANK, CInterface

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


def arguments(interface: CInterface, named: Mapping[str, Any]) -> ctypes.Structure:
    """The struct for tensors and numbers by name, without a workspace; what is not named is absent.

    Raises:
        ValueError: for a name that the interface does not have.
    """
    made = structure(interface)()
    tensors = {each.name for each in interface.tensors}
    numbers = {each.name: each.type for each in interface.numbers}
    for name, value in named.items():
        if name in tensors:
            setattr(made, name, _tensor(value))
        elif name in numbers:
            setattr(made, name, float(value) if numbers[name] == "double" else int(value))
        else:
            raise ValueError(f"the interface of {interface.name} has no member {name!r}")
    return made


@functools.cache
def structure(interface: CInterface) -> type[ctypes.Structure]:
    """The class of the struct, all of which is absent at first."""
    fields: list[tuple[str, type]] = [(each.name, EvoflashTensor) for each in interface.tensors]
    fields += [(each.name, ctypes.c_double if each.type == "double" else ctypes.c_int64) for each in interface.numbers]
    return type(interface.struct, (ctypes.Structure,), {"_fields_": (*fields, ("workspace", ctypes.c_void_p))})


def _tensor(tensor: torch.Tensor) -> EvoflashTensor:
    dtype = CODES[str(tensor.dtype).removeprefix("torch.")]
    return EvoflashTensor(tensor.data_ptr(), dtype, tensor.dim(), Extents(*tensor.shape), Extents(*tensor.stride()))
