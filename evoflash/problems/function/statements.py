"""What a problem's file says beside its function: sizes, flops, tolerance, layouts, cases, and what may vary."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from evoflash.problems import dtypes
from evoflash.problems.function.program import Program
from evoflash.problems.function.signature import Signature, Size
from evoflash.problems.function.source_file import ProblemError

FRESH = 8  # sizes that are drawn from what the file lets vary
LAYOUTS = ("contiguous", "strided", "unaligned")


def known(program: Program, sizes: Mapping[str, Any], where: str) -> dict[str, Size]:
    """Sizes that the file has, of the types that it gives them.

    Args:
        where: who names them, for messages: --shape, cases or vary.

    Raises:
        ProblemError: for a name that the file has not, or a value of another type.
    """
    found: dict[str, Size] = {}
    for name, value in sizes.items():
        if name not in program.sizes:
            listed = ", ".join(program.sizes) or "none"
            raise ProblemError(f"{program.file}: {where}: there is no size {name!r}; it has {listed}")
        found[name] = _as(type(program.sizes[name]), value, f"{program.file}: {where}: {name}")
    return found


def _as(kind: type, value: Any, where: str) -> Size:
    try:
        if kind is bool and isinstance(value, str):
            return {"true": True, "1": True, "": True, "false": False, "0": False}[value.lower()]
        return kind(value)
    except (KeyError, ValueError, TypeError):
        raise ProblemError(f"{where} is {value!r}; write a value of type {kind.__name__}") from None


def flops(program: Program, sizes: Mapping[str, Size], counted: int, signature: Signature) -> int:
    """The file's own figure, or PyTorch's, which counts products of matrices only; else one for each output element."""
    stated: Any = program.names.get("flops")
    if stated is None:
        return max(counted, sum(each.bytes // dtypes.BYTES[each.dtype] for each in signature.results), 1)
    if not callable(stated):
        raise ProblemError(
            f"{program.file}: flops is no function; write one of sizes, such as def flops(rows, columns)"
        )
    figure = stated(**{name: sizes[name] for name in program.sizes_of(stated)})
    if not isinstance(figure, int | float) or not 0 < figure < math.inf:
        raise ProblemError(f"{program.file}: flops returns {figure!r}; return a positive number of operations")
    return max(1, int(figure))


def tolerance(program: Program, signature: Signature) -> tuple[tuple[str, float], ...]:
    """Absolute errors that are allowed, by the names of outputs.

    Raises:
        ProblemError: for something else.
    """
    stated = program.names.get("tolerance", {})
    if not isinstance(stated, Mapping):
        stated = {each.name: stated for each in signature.results}
    known = [each.name for each in signature.results]
    for name, allowed in stated.items():
        if name not in known:
            raise ProblemError(f"{program.file}: tolerance names {name!r}; the outputs are {', '.join(known)}")
        if isinstance(allowed, bool) or not isinstance(allowed, int | float) or not 0 <= allowed < math.inf:
            raise ProblemError(
                f"{program.file}: tolerance of {name} is {allowed!r}; write the absolute error that is allowed"
            )
    return tuple((name, float(allowed)) for name, allowed in stated.items())


def layouts(program: Program) -> tuple[str, ...]:
    """The memory layouts that kernels are tried on.

    Raises:
        ProblemError: for something else.
    """
    stated = program.names.get("layouts", LAYOUTS)
    if not isinstance(stated, list | tuple) or any(each not in LAYOUTS for each in stated):
        raise ProblemError(f"{program.file}: layouts is {stated!r}; write a tuple of some of {', '.join(LAYOUTS)}")
    return tuple(stated)


def cases(program: Program) -> Sequence[Mapping[str, Any]]:
    """Sizes that are always tried.

    Raises:
        ProblemError: for something else.
    """
    stated = program.names.get("cases", ())
    if not isinstance(stated, list | tuple) or not all(isinstance(each, Mapping) for each in stated):
        raise ProblemError(f"{program.file}: cases is no list of sizes; write dicts, such as [{{'rows': 16}}]")
    return stated


def fresh(program: Program, own: Mapping[str, Size]) -> list[Mapping[str, Any]]:
    """Sizes from what the file lets vary: the first draw by a fixed seed, so that a run and its repetition agree."""
    ranges = program.names.get("vary", {})
    allowed = (range, list, tuple)
    if not isinstance(ranges, Mapping) or not all(isinstance(each, allowed) and each for each in ranges.values()):
        raise ProblemError(
            f"{program.file}: vary is no dict of ranges or lists of sizes; write one, such as {{'rows': range(1, 300)}}"
        )
    rng = random.Random(0)
    found: list[Mapping[str, Any]] = []
    for _ in range(FRESH if ranges else 0):
        drawn = {name: rng.choice(values) for name, values in ranges.items()}
        if drawn not in found and {**own, **drawn} != own:
            found.append(drawn)
    return found
