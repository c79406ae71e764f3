"""What the packages of one kind of problem have, beside what all packages have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evoflash.export.winner import Winner


@dataclass(frozen=True)
class Content:
    """The files of a package for one kind of problem.

    Attributes:
        skeletons: path in the distribution -> skeleton, where {name} is the package's.
        headers: what the operators include, as paths among the skeletons; copied as they are.
        binding: the operators in C++, among the skeletons; rendered if it ends in .j2, else copied. None for kernels in
            Python, which Python calls: nothing is built then.
        table: what kernels.json says: what each kernel is asked for.
        context: what the skeletons read beside what `rendering` gives to all.
        plain: what the README calls the plain baseline.
        yardstick: what it calls that of the allowed errors.
        unsaid: features of problems that calls of the package have no arguments for.
        verbatim: further files of the package, by name; `verbatim_names` has all that there can be.
    """

    skeletons: Mapping[str, str]
    headers: tuple[str, ...]
    binding: str | None
    table: Callable[[Winner], dict[str, Any]]
    context: Callable[[Winner], dict[str, Any]]
    plain: str
    yardstick: str
    unsaid: tuple[str, ...] = ()
    verbatim: Callable[[Winner], Mapping[str, str]] = lambda winner: {}
    verbatim_names: tuple[str, ...] = ()
