"""The C header of a problem, which its templates include: a struct with the names of its interface."""

from __future__ import annotations

import functools
import itertools
import textwrap
from collections.abc import Iterator, Sequence

from evoflash.problems.c_interface.declaration import CInterface, TensorMember

COLUMNS = 120

TEXT = """\
{about}
#ifndef EVOFLASH_{guard}_H
#define EVOFLASH_{guard}_H

#include "evoflash.h"

typedef struct {{
{members}
  void *workspace; /* evoflash_workspace_bytes() bytes, contents undefined */
}} {struct};

#ifndef EVOFLASH_DEVICE_ONLY
#ifdef __cplusplus
extern "C" {{
#endif
size_t evoflash_workspace_bytes(const {struct} *problem);
/* 0, EVOFLASH_UNSUPPORTED, or the runtime's error code. */
int evoflash_launch(const {struct} *problem, void *stream);
/* The members above, by which a caller knows that it means the same struct. */
extern __attribute__((weak)) const char evoflash_interface[]; /* in each file that includes this, once in a library */
const char evoflash_interface[] =
{signature};
#ifdef __cplusplus
}}
#endif
#endif

#endif  // EVOFLASH_{guard}_H
"""
ORIGIN = "Generated from the signature of {name}: what a kernel receives, and the two functions that it exports."


@functools.cache  # of every rendered kernel
def header(interface: CInterface) -> str:
    """The text of the header."""
    about = interface.about.strip().replace("*/", "* /") or interface.name
    members = [
        *(
            line
            for is_updated, group in itertools.groupby(interface.read, lambda each: each.is_updated)
            for line in _tensors(tuple(group), "read and written" if is_updated else "read")
        ),
        *_tensors(interface.written, "written"),
        *(line for each in interface.numbers for line in _member(f"{each.type} {each.name};", each.about)),
    ]
    return TEXT.format(
        about=_comment(f"{about}\n{ORIGIN.format(name=interface.name)}"),
        guard=interface.name.upper(),
        struct=interface.struct,
        members="\n".join(members),
        signature="\n".join(f'    "{line}"' for line in _pieces(interface.signature)),
    )


def _tensors(members: Sequence[TensorMember], verb: str) -> Iterator[str]:
    """A line for all, where their names say it all; else one for each."""
    if not members:
        return
    if any(each.about for each in members):
        yield f"  /* Tensors that are {verb}. */"
        for each in members:
            yield from _member(f"EvoflashTensor {each.name};", each.about)
    else:
        yield f"  EvoflashTensor {', '.join(each.name for each in members)}; /* {verb} */"


def _member(declaration: str, about: str) -> Iterator[str]:
    """A member with its comment beside it, or before it where that is long."""
    line = f"  {declaration} /* {about} */" if about else f"  {declaration}"
    if len(line) <= COLUMNS:
        yield line
    else:
        yield textwrap.indent(_comment(about, COLUMNS - 2), "  ")
        yield f"  {declaration}"


def _comment(text: str, columns: int = COLUMNS) -> str:
    """Paragraphs, which lines of the text are, as a comment."""
    lines = [line for each in text.splitlines() for line in textwrap.wrap(each, columns - 6) or [""]]
    return "/* " + "\n   ".join(lines) + " */"


def _pieces(text: str) -> list[str]:
    """A text in lines of source, which together are the text."""
    lines = textwrap.wrap(text, COLUMNS - 8)
    return [*(f"{line} " for line in lines[:-1]), lines[-1]]
