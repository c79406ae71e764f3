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
        binding: the operators, among the skeletons; rendered if it ends in .j2, else copied.
        table: what kernels.json says: what each kernel is asked for.
        context: what the skeletons read beside what `rendering` gives to all.
        plain: what the README calls the plain baseline.
        yardstick: what it calls that of the allowed errors.
        verbatim: further files of the package, by name; `verbatim_names` has all that there can be.
    """

    skeletons: Mapping[str, str]
    headers: tuple[str, ...]
    binding: str
    table: Callable[[Winner], dict[str, Any]]
    context: Callable[[Winner], dict[str, Any]]
    plain: str
    yardstick: str
    verbatim: Callable[[Winner], Mapping[str, str]] = lambda winner: {}
    verbatim_names: tuple[str, ...] = ()
