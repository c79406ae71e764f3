"""The format "kernelbench": one file with `Model`, `ModelNew` and their inputs, as KernelBench's problems have them."""

from __future__ import annotations

from evoflash.errors import UsageError
from evoflash.export.formats import skeletons
from evoflash.export.winner import Winner


def files(winner: Winner) -> dict[str, str]:
    """model_new.py, with the kernel's source in it.

    Raises:
        UsageError: when Python has no raw string for the source.
    """
    literal = raw_literal(winner.source)
    return {"model_new.py": skeletons.render("kernelbench/model_new.py.j2", winner, source_literal=literal)}


def raw_literal(text: str) -> str:
    """A raw string of Python with a text on lines of its own, so that it is read as it was written.

    Raises:
        UsageError: when the text has what no raw string can have.
    """
    for quotes in ('"""', "'''"):
        # A raw string cannot end in a backslash, and a quote at the end would be one of the closing three.
        if quotes not in text and not text.endswith(("\\", quotes[0])) and "\r" not in text:
            return f"r{quotes}{text}{quotes}"
    raise UsageError("the source has triple quotes of both kinds or carriage returns; export it as a package")
