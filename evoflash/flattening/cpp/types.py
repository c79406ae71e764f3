"""Types: integers with their widths, structs and enumerations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from evoflash.flattening.cpp.nodes import Node


class Width(NamedTuple):
    """What an integer type can hold."""

    bits: int
    signed: bool


# Types narrower than int are known by their ranges, and compute as int.
INTEGERS = {
    "bool": Width(1, False),
    "int8": Width(8, True),
    "uint8": Width(8, False),
    "int16": Width(16, True),
    "uint16": Width(16, False),
    "int": Width(32, True),
    "unsigned": Width(32, False),
    "long": Width(64, True),
    "ulong": Width(64, False),
}
# How a type may be spelled, with its name among those above.
SPELLINGS = {
    "bool": "bool",
    **dict.fromkeys(("int", "int32_t", "signed", "signed int"), "int"),
    **dict.fromkeys(("unsigned", "unsigned int", "uint32_t"), "unsigned"),
    **dict.fromkeys(("long", "long long", "long int", "long long int", "int64_t", "ptrdiff_t"), "long"),
    **dict.fromkeys(("unsigned long", "unsigned long long", "uint64_t", "size_t"), "ulong"),
    **dict.fromkeys(("short", "int16_t"), "int16"),
    **dict.fromkeys(("unsigned short", "uint16_t"), "uint16"),
    **dict.fromkeys(("signed char", "int8_t"), "int8"),
    **dict.fromkeys(("unsigned char", "uint8_t"), "uint8"),
}


@dataclass(frozen=True)
class Type:
    """A struct or an enumeration by the node that defines it, or a fundamental type by its name."""

    node: Node | None
    name: str = ""
