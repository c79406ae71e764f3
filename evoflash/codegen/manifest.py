"""The manifest of a family: what it computes, and what its template may read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from evoflash.space.declaration import Constraint, Family


class Manifest(BaseModel):
    """The content of templates/<family>/template.yaml.

    Attributes:
        family: the family's name, which is that of its folder.
        summary: what its kernels are, in one line.
        problem: what it computes: attention, or the name of a function.
        target: "cuda" or "cpu".
        source: the kernel's file name.
        constants: the problem facts that rendering may read; whatever is not listed arrives at run time only.
        sizes: further facts for genomes whose flag `specialised` is on; their kernels refuse other sizes.
        takes: features of problems that the kernel computes; it is not asked for a problem with any other.
        imports: modules that a Python kernel imports; without one of them the family is left out.
        include_paths: folders of headers in angle brackets, such as those of CUTLASS, as in $CUTLASS_HOME/include, or
            relative to the family's folder.
        requires: what else the family takes, over `problem` and `device`, each with the reason.
        max_spill_bytes: spills beyond which a build is refused; None where they only cost time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Family
    summary: str
    problem: str
    target: Literal["cuda", "cpu"]
    source: Family  # likewise a file's name, without a path
    constants: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    include_paths: tuple[str, ...] = ()
    requires: tuple[Constraint, ...] = ()
    max_spill_bytes: int | None = None
