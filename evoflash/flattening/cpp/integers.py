"""Integers with a type, and what C++ computes with them.

Booleans and enumerators are integers, too. All functions raise `UnknownError` where a result does not fit its type.
"""

from __future__ import annotations

import operator
import re
from typing import NamedTuple

from evoflash.flattening.cpp.errors import UnknownError
from evoflash.flattening.cpp.types import INTEGERS, Width

LITERAL = re.compile(r"(0[xX][0-9a-fA-F']+|0[bB][01']+|[0-9][0-9']*)([uUlLzZ]*)")
COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ARITHMETIC = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}


class Value(NamedTuple):
    """An integer with its type: one of `types.INTEGERS`, or "enum" and the place where the enumeration is declared."""

    number: int
    kind: str

    @property
    def is_enumerator(self) -> bool:
        """Whether it converts to no other type by itself."""
        return self.kind.startswith("enum")


def boolean(truth: bool) -> Value:
    """A value of type bool."""
    return Value(int(truth), "bool")


def truth_of(value: Value) -> bool:
    """Whether a condition holds."""
    return bool(_arithmetic(value).number)


def literal(text: str) -> Value:
    """The value of a number as it is written. Its type is the first one that holds it."""
    found = LITERAL.fullmatch(text)
    if not found:
        raise UnknownError
    digits, suffix = found[1].replace("'", ""), found[2].lower()
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    number = int(digits, 8) if octal else int(digits, 0)
    decimal = digits[0] != "0" or digits == "0"
    kinds = ["int", "unsigned", "long", "ulong"]
    if "l" in suffix or "z" in suffix:
        kinds = kinds[2:]
    kinds = [each for each in kinds if each.startswith("u") or "u" not in suffix]
    if decimal and "u" not in suffix:
        kinds = [each for each in kinds if not each.startswith("u")]
    for kind in kinds:
        if _fits(number, kind):
            return Value(number, kind)
    raise UnknownError


def converted(value: Value, kind: str) -> Value:
    """The value as another type of `types.INTEGERS`, which has to hold it."""
    return boolean(truth_of(value)) if kind == "bool" else _checked(_arithmetic(value).number, kind)


def common_kind(one: str, two: str) -> str:
    """The type that two operands are converted to."""
    if one == two:
        return one
    if one.startswith("enum") or two.startswith("enum"):
        raise UnknownError
    first, second = (INTEGERS[_promoted(Value(0, each)).kind] for each in (one, two))
    # The wider one wins; of two that are equally wide, the unsigned one.
    width = Width(first.bits, first.signed and second.signed) if first.bits == second.bits else max(first, second)
    return next(name for name, each in INTEGERS.items() if each == width)


def unary(sign: str, value: Value) -> Value:
    """The result of an operator with one operand."""
    if sign == "!":
        return boolean(not truth_of(value))
    promoted = _promoted(value)
    if sign == "+":
        return promoted
    if sign == "-":
        return _checked(-promoted.number, promoted.kind)
    if sign == "~" and INTEGERS[promoted.kind].signed:
        return Value(~promoted.number, promoted.kind)
    raise UnknownError


def binary(sign: str, one: Value, two: Value) -> Value:
    """The result of an operator with two operands; `&&` and `||` are none of these."""
    if sign in ("==", "!=") and one.kind == two.kind:
        return boolean(COMPARISONS[sign](one.number, two.number))
    one, two = _promoted(one), _promoted(two)
    if sign in ("<<", ">>"):
        if not 0 <= two.number < INTEGERS[one.kind].bits or one.number < 0:
            raise UnknownError
        return _checked(one.number << two.number if sign == "<<" else one.number >> two.number, one.kind)
    kind = common_kind(one.kind, two.kind)
    a, b = converted(one, kind).number, converted(two, kind).number
    if sign in COMPARISONS:
        return boolean(COMPARISONS[sign](a, b))
    if sign in ("/", "%"):
        if b == 0:
            raise UnknownError
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)  # towards zero
        return _checked(quotient if sign == "/" else a - b * quotient, kind)
    if sign not in ARITHMETIC or (sign in "&|^" and min(a, b) < 0):
        raise UnknownError
    return _checked(ARITHMETIC[sign](a, b), kind)


def _arithmetic(value: Value) -> Value:
    if value.is_enumerator:
        raise UnknownError
    return value


def _promoted(value: Value) -> Value:
    """As it computes: what is narrower than int is an int."""
    kind = _arithmetic(value).kind
    return Value(value.number, "int" if INTEGERS[kind].bits < 32 else kind)


def _checked(number: int, kind: str) -> Value:
    if not _fits(number, kind):
        raise UnknownError
    return Value(number, kind)


def _fits(number: int, kind: str) -> bool:
    bits, signed = INTEGERS[kind]
    return -(1 << bits - 1) <= number < 1 << bits - 1 if signed else 0 <= number < 1 << bits
