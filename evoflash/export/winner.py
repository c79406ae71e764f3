"""The winner of a search, as the input of an export."""

from __future__ import annotations

import hashlib
import keyword
import re
import sys
from dataclasses import dataclass, replace
from typing import Any, Literal

from evoflash.errors import UsageError
from evoflash.problems import Problem

MOST_KERNELS = 32  # of a package

# Names that an exported package must not have, since it would shadow modules that it imports or its own tests.
TAKEN = {*sys.stdlib_module_names, "torch", "ninja", "evoflash", "pytest", "tests", "aten", "prim", "prims"}


@dataclass(frozen=True)
class Winner:
    """A kernel to export, with everything that the export contains.

    Attributes:
        name: the name of the Python package, e.g. "evoflash_attention_mission".
        family: the template that rendered the kernel.
        genome: the values that it was rendered with.
        source: the source of the kernel, which is exported unchanged.
        language: the language of the source; "python" is a module with a function `launch`.
        target: the kind of device.
        arch: compute capability times ten, e.g. 90; None for a CPU. A kernel in Python was searched there.
        problem: the searched problem. The kernel has its dtype, head size, mask and features, and was timed at its
            lengths.
        provenance: the origin of the kernel, as JSON values. The README shows all scalar values; `machine`, a mapping
            of scalars; `finals`, a dumped `evoflash.core.finals.Final`; the length of the list `lineage`; and
            `evoflash`, the version that found the kernel.
        cases: the names of the correctness cases that it passed.
        beside: further problems that the kernel was searched for.
        constants: the facts of a problem that are constants in the source; None where that is not known.
        others: further kernels of the package, asked in this order for what this one does not take. Target,
            architecture and package name are the same, and all are in Python or none is.
        sweep: what the package's own `sweep` has measured, which gives the table of the kernels; None before that.
        prebuilt: whether the package will hold built libraries, and so needs neither compiler nor ninja.

    Raises:
        UsageError: for an invalid package name, or a target that does not fit the language.
    """

    name: str
    family: str
    genome: dict[str, Any]
    source: str
    language: Literal["c++", "cuda", "python"]
    target: Literal["cpu", "cuda"]
    arch: int | None
    problem: Problem
    provenance: dict[str, Any]
    cases: tuple[str, ...] = ()
    beside: tuple[Problem, ...] = ()
    constants: tuple[str, ...] | None = None
    others: tuple[Winner, ...] = ()
    sweep: dict[str, Any] | None = None
    prebuilt: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?", self.name) or keyword.iskeyword(self.name):
            raise UsageError(
                f"{self.name!r} is not a valid package name; use letters, digits and inner underscores, a letter first"
            )
        if self.name in TAKEN:
            raise UsageError(f"the package name {self.name!r} is the name of another module; choose another name")
        if not re.fullmatch(r"[\w.-]+", self.family):
            raise UsageError(f"{self.family!r} is not a family; choose from `evoflash templates list`")
        if self.language != "python" and (self.language, self.target) not in (("c++", "cpu"), ("cuda", "cuda")):
            raise UsageError(f"a kernel in {self.language} does not run on {self.target}; export another candidate")
        if (self.arch is None) != (self.target == "cpu"):
            raise UsageError("only a CUDA kernel has an architecture, and it needs one; export another candidate")
        if len(self.others) >= MOST_KERNELS:
            raise UsageError(f"a package has at most {MOST_KERNELS} kernels; export fewer")
        if any((each.target, each.arch) != (self.target, self.arch) for each in self.others):
            raise UsageError("the kernels of a package must be for one device; export them apart")
        if any((each.language == "python") != (self.language == "python") for each in self.others):
            raise UsageError("kernels in Python and others do not share a package; export them apart")
        if self.language == "python" and self.prebuilt:
            raise UsageError("a kernel in Python has no libraries; leave out --prebuilt and --wheel")

    @property
    def source_name(self) -> str:
        """The file name of its source; the others have a number in it."""
        return {"cuda": "kernel.cu", "c++": "kernel.cpp", "python": "kernel.py"}[self.language]

    @property
    def sources(self) -> dict[str, Winner]:
        """File name -> kernel, in the order in which the kernels are asked."""
        stem, suffix = self.source_name.split(".")
        numbered = {f"{stem}_{number}.{suffix}": each for number, each in enumerate(self.others, start=2)}
        return {self.source_name: self, **numbered}

    def swept(self, sweep: dict[str, Any]) -> Winner:
        """With the results of a sweep, and without the kernels that it asks for nothing, unless that is all."""
        asked = {row["source"] for row in sweep["rows"]}
        kept = [kernel for source, kernel in self.sources.items() if source in asked] or [self]
        first, *others = (replace(kernel, others=()) for kernel in kept)
        whole = replace(first, others=tuple(others), prebuilt=self.prebuilt)
        name_of = {kernel.source: source for source, kernel in whole.sources.items()}
        names = {source: name_of.get(kernel.source) for source, kernel in self.sources.items()}
        rows = [{**row, "source": names[row["source"]]} for row in sweep["rows"]]
        return replace(whole, sweep={**sweep, "rows": rows})

    @property
    def sizes(self) -> Literal["any", "some", "its own"]:
        """Which sizes it takes, by the cases that it passed; "any" where nothing is known of cases."""
        names = {case.rpartition(": ")[2] for case in self.cases}  # those of several shapes begin with the shape
        return self.problem.sizes_taken(names) if names else "any"

    @property
    def source_sha256(self) -> str:
        """The SHA-256 of the source, 64 hexadecimal digits."""
        return hashlib.sha256(self.source.encode()).hexdigest()
