"""The system headers of a source, which can be precompiled for all sources that include the same."""

from __future__ import annotations

import re

DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(\w+)[ \t]*(.*?)[ \t]*(?://.*|/\*.*)?$", re.MULTILINE)
OPENS = ("if", "ifdef", "ifndef")
# What may change a header's content, and so what precedes it in the source must be seen: macros with a reserved name
# (_GNU_SOURCE), NDEBUG, and pragmas that change the instruction set.
CHANGES_HEADERS = re.compile(r"define (_\w*|NDEBUG)\b|pragma GCC (target|optimize|push_options)\b")
OF_THE_COMPILER = re.compile(r"(defined|__\w+__|[\s()!&|])+")  # a condition on nothing but predefined macros


def system_headers(text: str) -> str:
    """The lines `#include <...>` of a source, with the conditions around them.

    Those behind a condition on the source's own macros are left out. Empty where there are none, and where the source
    may change what they contain.
    """
    lines, count, skipped = list[str](), 0, 0
    for found in DIRECTIVE.finditer(text):
        name, rest = found[1], found[2]
        if CHANGES_HEADERS.match(f"{name} {rest}"):
            return ""
        if name in OPENS and (skipped or not OF_THE_COMPILER.fullmatch(rest)):
            skipped += 1
        elif skipped:
            skipped -= name == "endif"
        elif name in (*OPENS, "elif", "else", "endif"):
            lines.append(f"#{name} {rest}".rstrip())
        elif name == "include" and rest.startswith("<"):
            lines.append(f"#include {rest}")
            count += 1
    return "".join(f"{line}\n" for line in lines) if count else ""
