"""The signature of a function at some sizes, as plain data: the tensors that it reads and writes, and its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer

from evoflash.core.record import Record
from evoflash.problems import dtypes

Size = bool | int | float | str

MOST_VALUES = 4096


def _pairs(value: Any) -> Any:
    return tuple(value.items()) if isinstance(value, Mapping) else value


# Names and values; a mapping in JSON.
Sizes = Annotated[tuple[tuple[str, Size], ...], BeforeValidator(_pairs), PlainSerializer(dict)]


class Tensor(Record):
    """A tensor that a function reads or writes.

    Attributes:
        values: of integers and booleans that are read, the first `MOST_VALUES`, row by row; they may be indices.
        changed: of an argument that is updated in place, how many elements one call has changed; None of others.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: tuple[int, ...] = ()
    changed: int | None = None

    @property
    def bytes(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * dtypes.BYTES[self.dtype]

    @property
    def is_updated(self) -> bool:
        """Whether the function updates it in place."""
        return self.changed is not None

    @property
    def moved_bytes(self) -> int:
        """Bytes that a call must move: its own, or of one that is updated what changes, read and written."""
        return self.bytes if self.changed is None else 2 * self.changed * dtypes.BYTES[self.dtype]

    @property
    def is_floating(self) -> bool:
        """Whether its elements are floating-point numbers."""
        return self.dtype in dtypes.FLOATS


class Number(Record):
    """An argument that is a number. In C a float is a double; integers and booleans are int64_t."""

    name: str
    value: bool | int | float


class Parameter(Record):
    """A parameter of a function, and what it was given.

    Attributes:
        kind: of the argument; None is an argument of its own kind.
        default: where `is_optional`, the parameter's own.
    """

    name: str
    kind: Literal["tensor", "float", "int", "bool", "text", "none"]
    is_optional: bool = False
    default: Size | None = None


class Interface(Record):
    """How a function is called from Python.

    Attributes:
        parameters: in order; of a module those of `forward`. Empty on the record of an earlier version.
        returns: "tensor", "tuple", "list", "none", or the name of the file's named tuple.
        is_module: whether it is a class `Model`.
        state: of a module, its parameters and buffers: the name in the struct, and the module's own.
    """

    parameters: tuple[Parameter, ...] = ()
    returns: str = "tensor"
    is_module: bool = False
    state: Annotated[tuple[tuple[str, str], ...], BeforeValidator(_pairs), PlainSerializer(dict)] = ()


class Signature(Record):
    """What a function reads and writes.

    Attributes:
        inputs: the arguments that are tensors and, of a module, its parameters and buffers.
        outputs: what it returns; none where it only updates its arguments.
        numbers: the arguments that are numbers.
        texts: the arguments that are text, which only templates and constraints can read.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    numbers: tuple[Number, ...] = ()
    texts: Sizes = ()

    @property
    def dtype(self) -> str:
        """That of the first input of floating-point numbers, or of the first output if there is none."""
        tensors = [*self.inputs, *self.outputs]
        return next((each.dtype for each in tensors if each.is_floating), tensors[0].dtype)

    @property
    def updated(self) -> tuple[Tensor, ...]:
        """The inputs that are updated in place."""
        return tuple(each for each in self.inputs if each.is_updated)

    @property
    def results(self) -> tuple[Tensor, ...]:
        """All that a call leaves behind: what it returns, then what it has updated."""
        return (*self.outputs, *self.updated)

    def facts(self) -> dict[str, Size]:
        """Scalars by name; of each tensor NAME its `NAME_rank`, sizes `NAME_0`, `NAME_1` … and `NAME_dtype`."""
        facts: dict[str, Size] = {each.name: each.value for each in self.numbers} | dict(self.texts)
        for tensor in (*self.inputs, *self.outputs):
            facts |= {f"{tensor.name}_rank": len(tensor.shape), f"{tensor.name}_dtype": tensor.dtype}
            facts |= {f"{tensor.name}_{axis}": size for axis, size in enumerate(tensor.shape)}
        return facts | {"dtype": self.dtype, "dtype_bytes": dtypes.BYTES[self.dtype]}
