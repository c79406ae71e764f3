"""What a kernel receives, by name: the tensors that it reads and writes, and numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

MAX_RANK = 6  # EVOFLASH_MAX_RANK

VERSION = 1  # of evoflash.h; a change of a struct there, or of what is passed beside the tensors, is a new one


@dataclass(frozen=True)
class TensorMember:
    """A tensor of the struct.

    Attributes:
        about: what it is, for the header; empty where the name says it.
        is_updated: whether a kernel writes it, too, in place.
    """

    name: str
    about: str = ""
    is_updated: bool = False


@dataclass(frozen=True)
class NumberMember:
    """A number of the struct."""

    name: str
    type: Literal["double", "int64_t"]
    about: str = ""

    @classmethod
    def of(cls, name: str, value: bool | int | float) -> NumberMember:
        """The member for such a value."""
        return cls(name, "double" if isinstance(value, float) else "int64_t")


@dataclass(frozen=True)
class CInterface:
    """The members of a problem's struct, in order: tensors read, tensors written, numbers; last a workspace.

    A call need not have all of them: a tensor that is absent has no data and no dimensions, an absent number is 0.

    Attributes:
        name: of the problem; the header is NAME.h, and the struct is the name in CamelCase.
        about: what is computed, for the header.
    """

    name: str
    read: tuple[TensorMember, ...]
    written: tuple[TensorMember, ...]
    numbers: tuple[NumberMember, ...] = ()
    about: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        read: Iterable[str],
        written: Iterable[str],
        numbers: Mapping[str, bool | int | float] | None = None,
        about: str = "",
        updated: Collection[str] = (),
    ) -> CInterface:
        """An interface whose names say all; numbers are given with a value, whose type counts."""
        members = tuple(NumberMember.of(*each) for each in (numbers or {}).items())
        inputs = tuple(TensorMember(each, is_updated=each in updated) for each in read)
        return cls(name, inputs, tuple(map(TensorMember, written)), members, about)

    @property
    def tensors(self) -> tuple[TensorMember, ...]:
        """Those read, then those written."""
        return (*self.read, *self.written)

    @property
    def struct(self) -> str:
        """The name of the struct: RmsNorm of rms_norm."""
        return "".join(part[:1].upper() + part[1:] for part in self.name.split("_"))

    @property
    def header(self) -> str:
        """The name of the header, as templates include it."""
        return f"{self.name}.h"

    @property
    def signature(self) -> str:
        """All that decides the struct's layout, as a library exports it under `evoflash_interface`.

        A library with another signature must not be called: it would take one member for another.
        """
        members = [each.name for each in self.tensors] + [f"{each.type} {each.name}" for each in self.numbers]
        return f"{VERSION} {self.name}: {', '.join(members)}"

    def named(self, tensors: Iterable[Any], numbers: Mapping[str, Any]) -> dict[str, Any]:
        """All tensors by their names, then these numbers."""
        names = (each.name for each in self.tensors)
        return {**dict(zip(names, tensors, strict=True)), **numbers}
