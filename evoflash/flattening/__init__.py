"""A kernel as a person reads it: one file, with everything that its constants rule out gone.

What is compiled is the amalgamated file: templates over a config struct, whose branches the compiler chooses. Here the
same choices are made in the text. That changes no meaning, so both give the same machine code; where something does not
follow from the constants for certain, the text stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from evoflash.flattening import branches, conditions, layout, reachability
from evoflash.flattening.constants import Program
from evoflash.flattening.edits import Edit, applied
from evoflash.flattening.syntax import Syntax

PASSES: tuple[Callable[[str], Iterable[Edit | tuple[Edit, ...]]], ...] = (
    lambda text: conditions.edits(Syntax(text)),
    lambda text: branches.edits(Program(Syntax(text))),
    lambda text: reachability.edits(Program(Syntax(text))),
    lambda text: layout.edits(Syntax(text)),
)
ROUNDS = 40  # each takes away one level of nesting; a fixed point comes long before


def flatten(text: str) -> str:
    """The text without branches that are never taken, and declarations that nothing refers to."""
    for _ in range(ROUNDS):
        before = text
        for edits in PASSES:
            text = applied(text, edits(text))
        if text == before:
            break
    return layout.spaced(text)
