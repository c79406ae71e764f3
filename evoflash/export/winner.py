"""The winner of a search, as the input of an export."""

import hashlib
import keyword
import re
import sys
from dataclasses import dataclass
from typing import Any, Literal

from evoflash.errors import UsageError
from evoflash.problems import Problem

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
        language: the language of the source.
        target: the kind of device.
        arch: compute capability times ten, e.g. 90; None for a CPU.
        problem: the searched problem. The kernel has its dtype, head size and mask, and was timed at its lengths.
        provenance: the origin of the kernel, as JSON values. The README shows all scalar values; `machine`, a mapping
            of scalars; `finals`, a dumped `evoflash.core.finals.Final`; the length of the list `lineage`; and
            `evoflash`, the version that found the kernel.
        cases: the names of the correctness cases that it passed.

    Raises:
        UsageError: for an invalid package name, or a target that does not fit the language.
    """

    name: str
    family: str
    genome: dict[str, Any]
    source: str
    language: Literal["c++", "cuda"]
    target: Literal["cpu", "cuda"]
    arch: int | None
    problem: Problem
    provenance: dict[str, Any]
    cases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?", self.name) or keyword.iskeyword(self.name):
            raise UsageError(
                f"{self.name!r} is not a valid package name; use letters, digits and inner underscores, a letter first"
            )
        if self.name in TAKEN:
            raise UsageError(f"the package name {self.name!r} is the name of another module; choose another name")
        if not re.fullmatch(r"[\w.-]+", self.family):
            raise UsageError(f"{self.family!r} is not a family; choose from `evoflash templates list`")
        if (self.language, self.target) not in (("c++", "cpu"), ("cuda", "cuda")):
            raise UsageError(f"a kernel in {self.language} does not run on {self.target}; export another candidate")
        if (self.arch is None) != (self.target == "cpu"):
            raise UsageError("only a CUDA kernel has an architecture, and it needs one; export another candidate")

    @property
    def source_name(self) -> str:
        """The kernel's file name."""
        return "kernel.cu" if self.language == "cuda" else "kernel.cpp"

    @property
    def takes_any_length(self) -> bool:
        """Whether it passed a case of other lengths than the problem's; True where nothing is known of cases."""
        return not self.cases or any(re.match(r"\d+x\d+\b", case) for case in self.cases)

    @property
    def source_sha256(self) -> str:
        """The SHA-256 of the source, 64 hexadecimal digits."""
        return hashlib.sha256(self.source.encode()).hexdigest()
