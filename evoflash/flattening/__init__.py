"""A kernel as a person reads it: one file, with everything that its constants rule out gone.

What is compiled is the amalgamated file: templates over a config struct, whose branches the compiler chooses. Here the
same choices are made in the text. That changes no meaning, so both give the same machine code; where something does not
follow from the constants for certain, the text stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from evoflash.flattening import branches, conditions, layout, reachability
from evoflash.flattening.cpp.program import Program
from evoflash.flattening.cpp.syntax import Syntax
from evoflash.flattening.edits import Edit, applied

PASSES: tuple[Callable[[Syntax], Iterable[Edit | tuple[Edit, ...]]], ...] = (
    conditions.edits,
    lambda syntax: branches.edits(Program(syntax)),
    reachability.edits,
    layout.edits,
)
ROUNDS = 40  # each takes away one level of nesting; a fixed point comes long before


def flatten(text: str) -> str:
    """The text without branches that are never taken, and declarations that nothing refers to."""
    syntax = Syntax(text)
    for _ in range(ROUNDS):
        before = syntax
        for edits in PASSES:
            syntax = applied(syntax, edits(syntax))
        if syntax.text == before.text:
            break
    return layout.spaced(syntax)
