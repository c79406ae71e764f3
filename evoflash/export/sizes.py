"""The sizes of a function's tensors as formulas, found out from the sizes at which a kernel was right.

A dimension that was the same everywhere is that number. One that varied is a name, or follows from named ones: as a
multiple, a quotient or a product. What follows from nothing cannot be said, and the kernel then has its own sizes only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evoflash.problems.function import Signature, Size, Tensor

LARGEST_DIVISOR = 1024
FEWEST = 3  # different values that a formula with a number of its own must explain


@dataclass(frozen=True)
class Formula:
    """(product of `of` * times + plus) / over, rounded down; without `of` it is `plus`.

    Attributes:
        of: names of sizes, at most two.
        is_whole: whether the division must leave no rest; other sizes are not taken.
    """

    of: tuple[str, ...] = ()
    times: int = 1
    plus: int = 0
    over: int = 1
    is_whole: bool = False

    def document(self) -> int | str | dict[str, Any]:
        """As kernels.json has it: a number, a name, or all of it."""
        if not self.of:
            return self.plus
        if self == Formula(self.of[:1]):
            return self.of[0]
        return {"of": self.of, "times": self.times, "plus": self.plus, "over": self.over, "whole": self.is_whole}

    def __str__(self) -> str:
        """E.g. "rows", "4 * columns", "(rows + 31) // 32"."""
        if not self.of:
            return str(self.plus)
        text = " * ".join(self.of)
        text = f"{self.times} * {text}" if self.times != 1 else text
        text = f"{text} + {self.plus}" if self.plus else text
        if self.over == 1:
            return text
        return f"({text}) // {self.over}" if " " in text else f"{text} // {self.over}"


@dataclass(frozen=True)
class Forms:
    """The sizes of all tensors of a signature.

    Attributes:
        inputs, outputs: of each tensor a formula for each dimension.
        names: of the sizes that may vary, in the order in which the inputs have them.
    """

    inputs: tuple[tuple[Formula, ...], ...]
    outputs: tuple[tuple[Formula, ...], ...]
    names: tuple[str, ...]


def forms(signatures: Sequence[Signature], sizes: Sequence[Mapping[str, Size]]) -> Forms:
    """The formulas that hold at all these sizes; those of the first alone, where an output follows from nothing.

    Args:
        signatures: of one function; ranks are the same in all.
        sizes: what the author calls the sizes, of each.
    """
    known = _Known(sizes)
    inputs = tuple(
        tuple(
            known.of_input(f"{tensor.name}_{axis}", values)
            for axis, values in enumerate(_dimensions(signatures, number))
        )
        for number, tensor in enumerate(signatures[0].inputs)
    )
    count = len(signatures[0].inputs)
    outputs = tuple(
        tuple(known.explain(values) for values in _dimensions(signatures, count + number))
        for number, _ in enumerate(signatures[0].outputs)
    )
    explained = tuple(tuple(each for each in axes if each is not None) for axes in outputs)
    if explained != outputs:
        return forms(signatures[:1], sizes[:1])
    return Forms(inputs, explained, tuple(known.values))


def _dimensions(signatures: Sequence[Signature], number: int) -> list[tuple[int, ...]]:
    """The values of each dimension of one of the tensors, inputs before outputs."""
    tensors: list[Tensor] = [(*each.inputs, *each.outputs)[number] for each in signatures]
    return list(zip(*(each.shape for each in tensors), strict=True))


@dataclass
class _Known:
    """The named sizes so far, each with its values."""

    sizes: Sequence[Mapping[str, Size]]
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def of_input(self, fallback: str, values: tuple[int, ...]) -> Formula:
        """A formula, or a new name: the author's, or else `fallback`."""
        found = self.explain(values)
        if found is not None:
            return found
        authors = (name for name in self.sizes[0] if tuple(each.get(name) for each in self.sizes) == values)
        name = next((each for each in authors if each not in self.values), fallback)
        self.values[name] = values
        return Formula((name,))

    def explain(self, values: tuple[int, ...]) -> Formula | None:
        """A formula of what is known."""
        if len(set(values)) == 1:
            return Formula(plus=values[0])
        same = next((name for name, known in self.values.items() if known == values), None)
        if same is not None:
            return Formula((same,))
        if len(set(values)) < FEWEST:
            return None
        for of, known in self._products():
            times, rest = divmod(values[0], known[0])
            if rest == 0 and all(each * times == value for each, value in zip(known, values, strict=True)):
                return Formula(of, times)
        for name, known in self.values.items():
            found = _quotient(known, values)
            if found is not None:
                return Formula((name,), **found)
        return None

    def _products(self) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
        """One or two of the named sizes, with their values or products."""
        names = list(self.values)
        single: list[tuple[tuple[str, ...], tuple[int, ...]]] = [((name,), self.values[name]) for name in names]
        pairs = [
            ((one, other), tuple(a * b for a, b in zip(self.values[one], self.values[other], strict=True)))
            for place, one in enumerate(names)
            for other in names[place:]
        ]
        return single + pairs


def _quotient(known: tuple[int, ...], values: tuple[int, ...]) -> dict[str, Any] | None:
    """`plus` and `over` by which one size follows from another, if no other divisor does it as well."""
    found = []
    for over in range(1, LARGEST_DIVISOR + 1):
        pairs = list(zip(known, values, strict=True))
        least = max(value * over - each for each, value in pairs)
        most = min((value + 1) * over - 1 - each for each, value in pairs)
        if least <= most:
            found.append((over, least, most))
    if len(found) != 1:
        return None
    ((over, least, most),) = found
    if over > 1 and least <= 0 <= most and all(each % over == 0 for each in known):
        return {"plus": 0, "over": over, "is_whole": True}  # of other sizes nothing is known
    for plus in (0, over - 1):
        if least <= plus <= most:
            return {"plus": plus, "over": over}
    return {"plus": least, "over": over} if least == most else None
